"""A broker that confirms late, or not at all: nothing is published again that will still be confirmed."""

from collections import Counter

import pytest
from dispatcher.handler import Dispatcher
from wavecom_common.events import routing
from wavecom_common.messaging import topology
from wavecom_common.testing.broker import consuming, depth_is, publishing, taken
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.waiting import eventually

from tests.proxied import proxied

SENDER_QUEUE = routing.sender_queue("email", "medium")


@pytest.fixture
async def broker(broker_url: str) -> str:
    await topology.apply(broker_url, topology.plan([100, 1000]), settle_s=0)
    return broker_url


@pytest.mark.timeout(90)
async def test_confirms_that_come_after_six_seconds_are_waited_for(broker: str) -> None:
    requests = [a_request(channel="email", priority="medium") for _ in range(30)]
    async with (
        publishing(broker) as api,
        proxied(broker) as (proxy, url),
        publishing(url, required=[SENDER_QUEUE]) as publisher,
    ):
        await eventually(lambda: publisher.ready() is None)
        proxy.answer_delay_s = 6.0
        async with consuming(broker, Dispatcher(publisher).handle, publisher, prefetch=len(requests)) as dispatcher:
            for request in requests:
                await api.publish([request], timeout_s=10)
            await eventually(lambda: depth_is(broker, routing.DISPATCHER_QUEUE, 0))
            # Longer than a message ever had to be confirmed.
            await eventually(lambda: dispatcher.held == 0, timeout_s=60, what="the end of every message")
    dispatched = Counter(event.notification_id for event in await taken(broker, SENDER_QUEUE))
    assert dispatched == Counter(request.notification_id for request in requests)
