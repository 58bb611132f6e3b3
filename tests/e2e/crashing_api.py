"""An ingest-api that kills itself once, at a named point of a POST: `python crashing_api.py POINT MARKER`.

The process is the real one; only the step after which it dies is wrapped.
"""

import sys
from pathlib import Path
from typing import Any

from aio_pika import Message
from ingest_api.bootstrap import build
from ingest_api.idempotency.keys import IdempotencyKeys
from ingest_api.settings import IngestSettings
from wavecom_common.events import routing
from wavecom_common.hosting.service import main
from wavecom_common.messaging.confirmed import ConfirmedChannel
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.testing.crashing import die, dying_after


def plant(point: str, marker: Path) -> None:
    match point:
        case "after the key":
            IdempotencyKeys.reserve = dying_after(IdempotencyKeys.reserve, marker)  # type: ignore[method-assign]
        case "between the queues":
            ConfirmedChannel.send = dying_between(ConfirmedChannel.send, marker)  # type: ignore[method-assign]
        case "after the confirm":
            EventPublisher.publish = dying_after(EventPublisher.publish, marker)  # type: ignore[method-assign]
        case "before the answer":
            IdempotencyKeys.complete = dying_after(IdempotencyKeys.complete, marker)  # type: ignore[method-assign]
        case "nowhere":
            pass
        case _:
            raise ValueError(point)


def dying_between(send: Any, marker: Path) -> Any:
    """A request is published to the event store's queue, and to the dispatcher's when that one confirmed it."""

    async def wrapped(self: ConfirmedChannel, exchange: str, key: str, message: Message) -> None:
        if key == routing.direct_key(routing.DISPATCHER_QUEUE):
            die(marker)
        await send(self, exchange, key, message)

    return wrapped


if __name__ == "__main__":
    plant(sys.argv[1], Path(sys.argv[2]))
    main("ingest-api", IngestSettings, build)
