"""What waits in the broker's queues."""

from collections.abc import Sequence

from wavecom_common.messaging.connection import broker_errors, connected
from wavecom_common.messaging.topology import message_counts


async def depths(url: str, queues: Sequence[str]) -> dict[str, int | None]:
    """How many messages wait in each queue, not counting those a reader holds; None where there is no such queue.

    Raises:
        Unavailable: the broker can't be reached.
    """
    async with connected(url, "status-projector queue depths") as connection:
        with broker_errors():
            return await message_counts(connection, queues)
