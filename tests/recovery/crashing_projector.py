"""A projector that kills itself at a named point of a batch: `python crashing_projector.py POINT BATCH`.

The process is the real one; only the step after which it dies is wrapped. BATCH counts from 1.
"""

import itertools
import os
import signal
import sys
from typing import Any

from status_projector.bootstrap import build_projector
from status_projector.projector import Projector
from status_projector.settings import ProjectorSettings
from status_projector.store.event_store import EventStore
from wavecom_common.hosting.service import main
from wavecom_common.testing.crashing import Method


def dying_after(method: Method, batch: int) -> Method:
    count = itertools.count(1)

    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = await method(*args, **kwargs)
        if next(count) == batch:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped


def plant(point: str, batch: int) -> None:
    match point:
        case "between the writes":
            EventStore.append = dying_after(EventStore.append, batch)  # type: ignore[method-assign]
        case "before ack":
            Projector.__call__ = dying_after(Projector.__call__, batch)  # type: ignore[method-assign]
        case _:
            raise ValueError(point)


if __name__ == "__main__":
    plant(sys.argv[1], int(sys.argv[2]))
    main("status-projector", ProjectorSettings, build_projector)
