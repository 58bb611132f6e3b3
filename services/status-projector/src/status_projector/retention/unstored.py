"""Whether every event that was accepted is stored: asked of the projector's queue, and of who holds events of it."""

from typing import Final

from wavecom_common.events.routing import PROJECTOR_QUEUE
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.storage.held_work import HeldWork

from status_projector.queues import depths

# The broker answers 0 for a queue whose leader is too busy to say, so one look proves nothing.
_LOOKS: Final = 2
_PAUSE_S: Final = 1.0


async def require_all_stored(url: str, held: HeldWork, *, clock: Clock = SYSTEM_CLOCK) -> None:
    """Return when the projector's queue is empty, and no projector holds events for long.

    What was accepted more than a few seconds ago is stored then.

    Raises:
        Unavailable: events wait, the queue is missing, or broker or database can't be reached.
    """
    for look in range(_LOOKS):
        if look:
            await clock.sleep(_PAUSE_S)
        waiting = (await depths(url, [PROJECTOR_QUEUE]))[PROJECTOR_QUEUE]
        if waiting != 0:
            found = "is missing" if waiting is None else f"holds {waiting} messages"
            raise Unavailable(f"queue {PROJECTOR_QUEUE} {found}: accepted events may not be stored yet")
    if PROJECTOR_QUEUE in await held.oldest():
        raise Unavailable("a projector holds events that it has not stored yet")
