"""An ingest-api that kills itself once, at a named point of a POST with a key: `python crashing_api.py POINT MARKER`.

The process is the real one; only the step after which it dies is wrapped.
"""

import sys
from pathlib import Path

from ingest_api.bootstrap import build
from ingest_api.settings import IngestSettings
from wavecom_common.hosting.service import main
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.storage.idempotency import IdempotencyKeys
from wavecom_common.testing.crashing import dying_after


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
