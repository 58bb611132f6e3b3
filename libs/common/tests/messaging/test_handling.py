"""What `Handling` does with a message, on a publisher that only records: what is sent where, and with which headers."""

import asyncio
import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from aio_pika import Message
from wavecom_common.events import codec, routing, types
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Draining, Unavailable
from wavecom_common.messaging.handler_calls import MAX_FAILURES
from wavecom_common.messaging.handling import LIMITS, Handling
from wavecom_common.messaging.headers import (
    FAILURES_HEADER,
    REASON_HEADER,
    REPLAYED_HEADER,
    RETURNS_HEADER,
    SUSPECT_HEADER,
    Past,
    past_of,
)
from wavecom_common.messaging.incoming import Handler, Incoming, Link, Raw
from wavecom_common.messaging.outcome import ACK, DeadLetter, Outcome, Retry
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.messaging.settlement import Settlement
from wavecom_common.telemetry import metrics
from wavecom_common.testing.builders import a_request
from wavecom_proto.v1.events_pb2 import Event

QUEUE = routing.DISPATCHER_QUEUE
DELAY_MS = 20
FRESH = Past()


class Recorder(EventPublisher):
    """Makes messages as the real one does, and keeps them instead of publishing."""

    def __init__(self) -> None:
        super().__init__("amqp://", name="test", required_queues=[])
        self.requeued: list[Message] = []
        self.dead: list[Message] = []
        self.published: list[Event] = []

    async def publish_message(
        self, exchange: str, routing_key: str, message: Message, *, timeout_s: float | None = None
    ) -> None:
        if exchange == routing.DEAD_EXCHANGE:
            assert routing_key == QUEUE
            self.dead.append(message)
        else:
            assert (exchange, routing_key) == (routing.retry_name(DELAY_MS), routing.direct_key(QUEUE))
            self.requeued.append(message)

    async def publish(self, events: Sequence[Event], *, timeout_s: float | None = None) -> None:
        self.published.extend(events)


@dataclass
class Bench:
    """A handling, what its handler saw, and what was published."""

    handler: Handler
    seen: list[Incoming] = field(default_factory=list)
    recorder: Recorder = field(default_factory=Recorder)

    def __post_init__(self) -> None:
        async def handle(incoming: Incoming) -> Sequence[Outcome]:
            self.seen.append(incoming)
            return await self.handler(incoming)

        settlement = Settlement(self.recorder, SYSTEM_CLOCK)
        self.handling = Handling(handle, settlement, retry_delay_ms=DELAY_MS, draining=asyncio.Event())

    async def process(self, raw: Raw, link: Link | None = None) -> bool:
        return await self.handling.process(raw, link or Link())


async def ack(incoming: Incoming) -> Sequence[Outcome]:
    return [ACK] * len(incoming.events)


async def unavailable(_: Incoming) -> Sequence[Outcome]:
    raise Unavailable("the database is away")


def raw(
    *events: Event,
    delivery_count: int = 0,
    past: Past = FRESH,
    compress_above_bytes: int = 10**9,
) -> Raw:
    [encoded] = codec.encode(events or [a_request()], compress_above_bytes=compress_above_bytes)
    return Raw(QUEUE, "m", encoded.body, codec.CONTENT_TYPE, encoded.content_encoding, delivery_count, past)


def events_of(message: Message) -> Sequence[Event]:
    return codec.decode(message.body, content_type=message.content_type, content_encoding=message.content_encoding)


async def test_what_came_back_too_often_is_sent_back_unread_and_quarantined() -> None:
    bench = Bench(ack)
    broken = Raw(QUEUE, "m", b"kills who reads it", "any/type", "gzip", LIMITS.redeliveries + 1, Past(replayed=True))
    before = metrics.REQUEUED.labels(QUEUE, "quarantined")._value.get()
    assert await bench.process(broken)

    [again] = bench.recorder.requeued
    assert (again.body, again.content_type, again.content_encoding) == (broken.body, "any/type", "gzip")
    assert past_of(again.headers) == Past(quarantined=True, replayed=True)
    assert not bench.seen
    assert metrics.REQUEUED.labels(QUEUE, "quarantined")._value.get() == before + 1


async def test_a_message_counted_high_through_no_fault_of_its_own_is_published_anew_with_its_count() -> None:
    async def leave(_: Incoming) -> Sequence[Outcome]:
        raise Draining("its link was lost")

    bench = Bench(leave)
    for count in range(3, LIMITS.counted + 1):
        assert not await bench.process(raw(delivery_count=count))
    assert await bench.process(raw(delivery_count=LIMITS.counted + 1, past=Past(failures=1)))
    [again] = bench.recorder.requeued
    assert again.headers == {FAILURES_HEADER: 1, RETURNS_HEADER: 3}


async def test_of_two_quarantined_messages_one_is_handled_and_the_other_sent_back_with_its_count() -> None:
    bench = Bench(ack)
    quarantined = Past(quarantined=True, returns=2)
    done = await asyncio.gather(*[bench.process(raw(delivery_count=1, past=quarantined)) for _ in range(2)])
    assert done == [True, True]
    assert len(bench.seen) == 1
    [waiting] = bench.recorder.requeued
    assert past_of(waiting.headers) == Past(quarantined=True, returns=3)


async def test_a_quarantined_message_that_can_be_handled_up_to_a_database_that_is_away_is_quarantined_no_more() -> None:
    bench = Bench(unavailable)
    events = [a_request(), a_request()]
    assert await bench.process(raw(*events, past=Past(quarantined=True, returns=4, replayed=True)))
    [again] = bench.recorder.requeued
    assert past_of(again.headers) == Past(replayed=True)
    assert events_of(again) == events


async def test_a_quarantined_message_that_has_to_wait_stays_quarantined() -> None:
    async def not_yet(incoming: Incoming) -> Sequence[Outcome]:
        return [Retry(DELAY_MS, "not yet") for _ in incoming.events]

    bench = Bench(not_yet)
    assert await bench.process(raw(delivery_count=2, past=Past(quarantined=True, returns=1, replayed=True)))
    [again] = bench.recorder.requeued
    assert past_of(again.headers) == Past(quarantined=True, returns=3, replayed=True)


async def test_a_quarantined_message_whose_link_is_lost_is_left_to_the_broker_untouched() -> None:
    bench = Bench(ack)
    lost = Link()
    lost.lose()
    message = raw(past=Past(quarantined=True))
    assert not await bench.process(message, lost)
    assert message.body
    assert (bench.seen, bench.recorder.requeued) == ([], [])


async def test_a_quarantined_message_of_several_events_is_taken_apart() -> None:
    bench = Bench(ack)
    events = [a_request() for _ in range(3)]
    assert await bench.process(raw(*events, delivery_count=LIMITS.trials + 1, past=Past(quarantined=True)))
    assert [events_of(message) for message in bench.recorder.requeued] == [[event] for event in events]
    assert {past_of(message.headers) for message in bench.recorder.requeued} == {Past(quarantined=True)}
    assert not bench.seen


async def test_a_quarantined_event_is_given_up_alone_and_its_notification_fails() -> None:
    bench = Bench(ack)
    event = a_request()
    assert await bench.process(raw(event, delivery_count=LIMITS.trials + 1, past=Past(quarantined=True)))
    [dead] = bench.recorder.dead
    assert dead.headers[REASON_HEADER] == "given out 6 times, alone, and never finished"
    assert events_of(dead) == [event]
    assert [(end.type, end.notification_id) for end in bench.recorder.published] == [
        (types.FAILED, event.notification_id)
    ]
    assert not bench.seen


async def test_what_kills_also_when_it_is_taken_apart_is_dead_lettered_unread_as_it_came() -> None:
    bench = Bench(ack)
    count = LIMITS.trials + LIMITS.splits + 1
    broken = Raw(QUEUE, "m", b"kills who reads it", "any/type", "gzip", count, Past(quarantined=True))
    assert await bench.process(broken)
    [dead] = bench.recorder.dead
    assert (dead.body, dead.content_type, dead.content_encoding) == (b"kills who reads it", "any/type", "gzip")
    assert dead.headers[REASON_HEADER] == "given out 11 times, alone, and never read"


async def test_a_gzip_body_that_cannot_be_read_keeps_its_encoding_as_a_dead_letter() -> None:
    bench = Bench(ack)
    message = raw(a_request(message="again and " * 1000), compress_above_bytes=100)
    message.body = message.body[:-4]
    body = message.body
    assert await bench.process(message)
    [dead] = bench.recorder.dead
    assert (dead.body, dead.content_encoding) == (body, codec.GZIP)
    assert str(dead.headers[REASON_HEADER]).startswith("undecodable: ")


async def test_while_a_message_is_handled_its_body_is_not_held() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(incoming: Incoming) -> Sequence[Outcome]:
        begun.set()
        await go_on.wait()
        return [DeadLetter("no") for _ in incoming.events]

    bench = Bench(wait)
    event = a_request(message="x" * 100_000)
    message = raw(event)
    # The only references are its own, this function's and `getrefcount`'s.
    body = message.body
    processing = asyncio.create_task(bench.process(message))
    await begun.wait()
    gc.collect()
    assert sys.getrefcount(body) == 2
    go_on.set()
    assert await processing
    assert [events_of(dead) for dead in bench.recorder.dead] == [[event]]


async def test_outcomes_that_do_not_fit_the_events_end_in_the_dead_letter_queue_with_all_events() -> None:
    async def too_few(_: Incoming) -> Sequence[Outcome]:
        return [ACK]

    bench = Bench(too_few)
    events = [a_request(), a_request()]
    assert await bench.process(raw(*events))
    [dead] = bench.recorder.dead
    assert events_of(dead) == events
    assert dead.headers[REASON_HEADER] == "could not be settled: ValueError"


async def test_an_event_that_makes_its_handler_raise_is_handled_so_often_and_no_more() -> None:
    async def fail(_: Incoming) -> Sequence[Outcome]:
        raise ValueError("a bug")

    bench = Bench(fail)
    event, calls = a_request(), 0
    message = raw(event)
    before = metrics.HANDLER_RETRIES.labels(QUEUE)._value.get()
    while not bench.recorder.dead:
        calls += 1
        assert await bench.process(message)
        if bench.recorder.requeued:
            again = bench.recorder.requeued.pop()
            message = Raw(QUEUE, "m", again.body, again.content_type, None, 0, past_of(again.headers))
    assert calls == len(bench.seen) == MAX_FAILURES == 3
    assert metrics.HANDLER_RETRIES.labels(QUEUE)._value.get() == before + 2


async def test_one_event_that_raises_takes_no_other_with_it() -> None:
    guilty = a_request()

    async def fail_on_guilty(incoming: Incoming) -> Sequence[Outcome]:
        if guilty in incoming.events:
            raise ValueError("a bug")
        return [ACK] * len(incoming.events)

    bench = Bench(fail_on_guilty)
    assert await bench.process(raw(a_request(), guilty, a_request()))
    [again] = bench.recorder.requeued
    assert (events_of(again), past_of(again.headers)) == ([guilty], Past(failures=1))


@pytest.mark.parametrize(
    "headers",
    [{}, {RETURNS_HEADER: "many", FAILURES_HEADER: None}, {RETURNS_HEADER: 2.5}],
    ids=["none", "text", "half"],
)
def test_headers_that_are_no_counts_count_as_none(headers: dict[str, object]) -> None:
    assert past_of(headers) == Past()


def test_a_quarantine_and_a_replay_are_known_by_their_headers() -> None:
    assert past_of({SUSPECT_HEADER: 1, REPLAYED_HEADER: 1}) == Past(quarantined=True, replayed=True)
