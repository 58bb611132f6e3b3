"""A dispatcher that kills itself once, at a named point: `python crashing_dispatcher.py POINT MARKER`.

The process is the real one; only the step before or after which it dies is wrapped.
"""

import sys
from pathlib import Path

from dispatcher.bootstrap import build
from dispatcher.handler import Dispatcher
from dispatcher.settings import DispatcherSettings
from wavecom_common.hosting.service import main
from wavecom_common.testing.crashing import dying_after, dying_before


def plant(point: str, marker: Path) -> None:
    match point:
        case "received":
            Dispatcher.handle = dying_before(Dispatcher.handle, marker)  # type: ignore[method-assign]
        case "after publish, before ack":
            Dispatcher.handle = dying_after(Dispatcher.handle, marker)  # type: ignore[method-assign]
        case "nowhere":
            pass
        case _:
            raise ValueError(point)


if __name__ == "__main__":
    plant(sys.argv[1], Path(sys.argv[2]))
    main("dispatcher", DispatcherSettings, build)
