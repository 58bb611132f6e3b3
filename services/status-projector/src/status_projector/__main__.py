"""`python -m status_projector projector` writes the read model; `python -m status_projector query` answers from it."""

import sys

from wavecom_common.hosting.service import main

from status_projector.bootstrap import build_projector, build_query
from status_projector.settings import ProjectorSettings, QuerySettings

if __name__ == "__main__":
    match sys.argv[1:]:
        case ["projector"]:
            main("status-projector", ProjectorSettings, build_projector)
        case ["query"]:
            main("status-query", QuerySettings, build_query)
        case _:
            sys.exit("usage: python -m status_projector projector|query")
