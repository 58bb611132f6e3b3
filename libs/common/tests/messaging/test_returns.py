"""Messages that came back often, on a real broker: each is handled in the end, or given up."""

import asyncio
from collections.abc import Sequence

import pytest
from wavecom_common.events import routing
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.headers import RETURNS_HEADER
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import ACK, Outcome
from wavecom_common.testing.broker import RETRY_DELAY_MS, consuming, depth_is, publishing
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.waiting import eventually

QUEUE = routing.DISPATCHER_QUEUE
KEY = routing.direct_key(QUEUE)
OFTEN = 51


@pytest.fixture
async def broker(broker_url: str) -> str:
    await topology.apply(broker_url, topology.plan([RETRY_DELAY_MS]), settle_s=0)
    return broker_url


async def returned(broker: str, times: int) -> None:
    """What waits in the queue is given out and comes back, so often."""
    async with connected(broker, "test") as connection:
        queue = await (await connection.channel()).get_queue(QUEUE, ensure=False)
        for _ in range(times):
            message = await queue.get(no_ack=False)
            await message.nack(requeue=True)
    await eventually(lambda: depth_is(broker, QUEUE, 1))


@pytest.mark.parametrize("counted_by", ["the broker", "a header"])
async def test_a_message_that_came_back_51_times_is_handled(broker: str, counted_by: str) -> None:
    handled = asyncio.Event()

    async def handler(incoming: Incoming) -> Sequence[Outcome]:
        handled.set()
        return [ACK] * len(incoming.events)

    headers = {RETURNS_HEADER: OFTEN} if counted_by == "a header" else {}
    async with publishing(broker) as publisher:
        message = publisher.message([a_request(), a_request()], headers)
        await publisher.publish_message(routing.EVENTS_EXCHANGE, KEY, message)
        if counted_by == "the broker":
            await returned(broker, OFTEN)
        async with consuming(broker, handler, publisher):
            await asyncio.wait_for(handled.wait(), 10)
    await eventually(lambda: depth_is(broker, QUEUE, 0))
