"""An ingest-api that kills itself once, at a named point of a POST with a key: `python crashing_api.py POINT MARKER`.

The process is the real one; only the step after which it dies is wrapped.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ingest_api.bootstrap import build
from ingest_api.settings import IngestSettings
from wavecom_common.hosting.service import main
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.storage.idempotency import IdempotencyKeys

Method = Callable[..., Awaitable[Any]]


def dying_after(method: Method, marker: Path) -> Method:
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = await method(*args, **kwargs)
        try:
            marker.touch(exist_ok=False)
        except FileExistsError:
            return result
        os.kill(os.getpid(), signal.SIGKILL)

    return wrapped


def plant(point: str, marker: Path) -> None:
    match point:
        case "after the key":
            IdempotencyKeys.reserve = dying_after(IdempotencyKeys.reserve, marker)  # type: ignore[method-assign]
        case "after the confirm":
            EventPublisher.publish = dying_after(EventPublisher.publish, marker)  # type: ignore[method-assign]
        case "before the answer":
            IdempotencyKeys.complete = dying_after(IdempotencyKeys.complete, marker)  # type: ignore[method-assign]
        case "nowhere":
            pass
        case _:
            raise ValueError(point)


if __name__ == "__main__":
    plant(sys.argv[1], Path(sys.argv[2]))
    main("ingest-api", IngestSettings, build)
