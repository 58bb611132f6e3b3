"""`python -m dispatcher`: routes requested notifications until it is told to stop."""

from wavecom_common.hosting.service import main

from dispatcher.bootstrap import build
from dispatcher.settings import DispatcherSettings

if __name__ == "__main__":
    main("dispatcher", DispatcherSettings, build)
