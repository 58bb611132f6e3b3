"""What waits in the broker's queues."""

from collections.abc import Sequence

from wavecom_common.messaging.connection import broker_errors, connected
from wavecom_common.messaging.depths import QueueProbe


async def depths(url: str, queues: Sequence[str]) -> dict[str, int | None]:
    """How many messages wait in each queue, not counting those a reader holds; None where there is no such queue.

    A 0 may be one that the broker made up, see `messaging.depths`: what follows from it rests on a second look.

    Raises:
        Unavailable: the broker can't be reached.
    """
    async with connected(url, "status-projector queue depths") as connection:
        with broker_errors():
            found = await QueueProbe(connection).depths(queues)
    return {name: None if one is None else one.ready for name, one in found.items()}
