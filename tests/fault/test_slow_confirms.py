"""A broker that confirms late, or not at all: nothing is published again that will still be confirmed."""

import asyncio
import signal
from collections import Counter

import pytest
from dispatcher.handler import Dispatcher
from wavecom_common.events import routing
from wavecom_common.messaging import topology
from wavecom_common.testing.broker import consuming, depth, depth_is, publishing, taken
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.waiting import eventually

from tests.fault.stage import Stage, process
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


@pytest.mark.timeout(90)
async def test_a_process_whose_confirms_never_come_ends_in_time_when_it_is_told_to_stop(stage: Stage) -> None:
    async with (
        proxied(stage.broker_url) as (proxy, url),
        publishing(stage.broker_url, max_events=1) as api,
        process(
            stage,
            "-m",
            "dispatcher",
            WAVECOM_RABBITMQ_URL=url,
            WAVECOM_DRAIN_TIMEOUT_S="2",
            WAVECOM_BATCH_LINGER_MS="0",
        ) as dispatcher,
    ):
        await eventually(lambda: '"consuming"' in stage.log, timeout_s=30)
        # A confirm takes longer than the process has.
        proxy.answer_delay_s = 4.0
        await api.publish([a_request() for _ in range(20)])
        await eventually(lambda: sender_has_some(stage))
        proxy.blackhole(True)
        dispatcher.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await dispatcher.wait() == 0
        assert "drain_cut_short" in stage.log
    # What it could not finish is left to another one.
    await eventually(lambda: depth_is(stage.broker_url, routing.DISPATCHER_QUEUE, 20))


async def sender_has_some(stage: Stage) -> bool:
    return bool(await depth(stage.broker_url, SENDER_QUEUE))
