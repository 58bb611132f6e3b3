"""What becomes of messages in hand when a process is told to stop, or loses its link, on a real broker."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs
from wavecom_common.events import codec, routing
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Draining, Unavailable
from wavecom_common.messaging import topology
from wavecom_common.messaging.handling import LIMITS, Handling
from wavecom_common.messaging.headers import RETURNS_HEADER, SUSPECT_HEADER, Past
from wavecom_common.messaging.incoming import Incoming, Link, Raw
from wavecom_common.messaging.outcome import ACK, Outcome
from wavecom_common.messaging.settlement import Settlement
from wavecom_common.testing.broker import RETRY_DELAY_MS, consuming, depth, depth_is, messages, publishing
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.waiting import eventually


@pytest.fixture
async def broker(broker_url: str) -> str:
    await topology.apply(broker_url, topology.plan([RETRY_DELAY_MS]), settle_s=0)
    return broker_url


async def test_what_is_not_finished_at_a_stop_goes_back_to_the_queue(broker: str) -> None:
    begun = asyncio.Event()

    async def handler(incoming: Incoming) -> Sequence[Outcome]:
        begun.set()
        raise Unavailable("database: away")

    async with publishing(broker) as publisher:
        async with consuming(broker, handler, publisher):
            await publisher.publish([a_request()], timeout_s=10)
            await begun.wait()
        await eventually(lambda: depth_is(broker, routing.DISPATCHER_QUEUE, 1))


async def test_messages_that_wait_for_the_same_are_one_line_in_the_log(broker: str) -> None:
    waiting: set[str] = set()

    async def handler(incoming: Incoming) -> Sequence[Outcome]:
        waiting.add(incoming.message_id)
        raise Unavailable("database: away")

    with capture_logs() as logs:
        async with publishing(broker, max_events=1) as publisher, consuming(broker, handler, publisher):
            await publisher.publish([a_request() for _ in range(10)])
            await eventually(lambda: len(waiting) == 10)
    assert [line["error"] for line in logs if line["event"] == "waiting"] == ["database: away"]


async def test_at_a_stop_what_is_not_begun_goes_back_before_the_slowest_has_ended(broker: str) -> None:
    answer, begun = asyncio.Event(), asyncio.Event()
    waiting: list[Incoming] = []

    async def handler(incoming: Incoming) -> Sequence[Outcome]:
        if not begun.is_set():
            begun.set()
            await answer.wait()
            return [ACK]
        waiting.append(incoming)
        await incoming.link.abandoned.wait()
        raise Draining("not begun")

    async with publishing(broker) as publisher, consuming(broker, handler, publisher) as consumer:
        for _ in range(5):
            await publisher.publish([a_request()], timeout_s=10)
        await eventually(lambda: len(waiting) == 4)
        stopping = asyncio.create_task(consumer.drain())
        await eventually(lambda: depth_is(broker, routing.DISPATCHER_QUEUE, 4))
        assert not stopping.done()
        answer.set()
        await stopping
    assert await depth(broker, routing.DISPATCHER_QUEUE) == 4


async def test_however_often_its_link_is_lost_a_message_is_published_anew_before_the_broker_takes_it_away(
    broker: str,
) -> None:
    seen: list[Incoming] = []

    async def handler(incoming: Incoming) -> Sequence[Outcome]:
        seen.append(incoming)
        await incoming.link.abandoned.wait()
        raise Draining("its link was lost")

    async with publishing(broker) as publisher:
        handling = Handling(
            handler, Settlement(publisher, SYSTEM_CLOCK), retry_delay_ms=RETRY_DELAY_MS, draining=asyncio.Event()
        )
        [encoded] = codec.encode([a_request()], compress_above_bytes=16_384)
        lost = Link()
        lost.lose()
        raw = Raw(routing.DISPATCHER_QUEUE, "m", encoded.body, codec.CONTENT_TYPE, None)
        for count in range(LIMITS.counted + 1):
            assert not await handling.process(replace(raw, delivery_count=count), lost)
        # No fault of its own: it is not quarantined.
        assert {incoming.past for incoming in seen} == {Past()}
        assert await handling.process(replace(raw, delivery_count=LIMITS.counted + 1), Link())

    assert len(seen) == LIMITS.counted + 1
    await eventually(lambda: depth_is(broker, routing.DISPATCHER_QUEUE, 1))
    [again] = await messages(broker, routing.DISPATCHER_QUEUE)
    assert RETURNS_HEADER not in again.headers
    assert SUSPECT_HEADER not in again.headers
