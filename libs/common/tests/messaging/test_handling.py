"""What `Handling` does with a message, on a publisher that only records: what is sent where, and with which headers."""

import asyncio
import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from aio_pika import Message
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs
from wavecom_common.events import codec, routing, types
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Draining, Unavailable, Unroutable
from wavecom_common.messaging import handling
from wavecom_common.messaging.handler_calls import MAX_FAILURES
from wavecom_common.messaging.handling import LIMITS, Handling
from wavecom_common.messaging.headers import (
    FAILURES_HEADER,
    REASON_HEADER,
    REPLAYED_HEADER,
    RETURNS_HEADER,
    SUSPECT_HEADER,
    Past,
    delivery_count,
    headers_of,
    past_of,
)
from wavecom_common.messaging.held import HeldMessages
from wavecom_common.messaging.incoming import GiveUp, Handler, Incoming, Link, Raw, dead_letter
from wavecom_common.messaging.outcome import ACK, DeadLetter, Outcome, Retry
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.messaging.settlement import Settlement
from wavecom_common.telemetry import metrics, spans
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.virtual_time import run_virtually
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
        # Raised by the next calls, one each.
        self.errors: list[Exception] = []

    async def publish_message(
        self, exchange: str, routing_key: str, message: Message, *, timeout_s: float | None = None
    ) -> None:
        if self.errors:
            raise self.errors.pop(0)
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
    give_up: GiveUp = dead_letter
    handler_traces: bool | None = None
    retry_delay_ms: int = DELAY_MS
    held: HeldMessages = field(default_factory=HeldMessages)
    draining: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        async def handle(incoming: Incoming) -> Sequence[Outcome]:
            self.seen.append(incoming)
            return await self.handler(incoming)

        settlement = Settlement(self.recorder, SYSTEM_CLOCK)
        self.handling = Handling(
            handle,
            settlement,
            retry_delay_ms=self.retry_delay_ms,
            draining=self.draining,
            give_up=self.give_up,
            held=self.held,
            **({} if self.handler_traces is None else {"handler_traces": self.handler_traces}),
        )

    async def process(self, raw: Raw, link: Link | None = None) -> bool:
        return await self.handling.process(raw, link or Link())


async def ack(incoming: Incoming) -> Sequence[Outcome]:
    return [ACK] * len(incoming.events)


async def leave(_: Incoming) -> Sequence[Outcome]:
    raise Draining("its link was lost")


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


def requeued(reason: str) -> float:
    return metrics.REQUEUED.labels(QUEUE, reason)._value.get()


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


async def test_a_handler_is_given_the_message_as_it_came_and_it_is_held_meanwhile() -> None:
    held: list[object] = []

    async def look(incoming: Incoming) -> Sequence[Outcome]:
        held.append(bench.held.oldest_ms(held_for_s=0))
        return [ACK] * len(incoming.events)

    bench = Bench(look)
    event, link = a_request(), Link()
    assert await bench.process(raw(event, past=Past(returns=1)), link)
    [incoming] = bench.seen
    assert (incoming.queue, incoming.message_id, list(incoming.events)) == (QUEUE, "m", [event])
    assert incoming.draining is bench.draining
    assert incoming.link is link
    assert incoming.past == Past(returns=1)
    assert held == [{QUEUE: event.occurred_at_ms}]
    assert bench.held.oldest_ms(held_for_s=0) == {}


async def test_what_is_away_is_waited_for_in_place_and_logged_once_for_each_cause() -> None:
    errors = [Unavailable("the database"), Unavailable("the database"), Unroutable("the broker")]

    async def away_for_a_while(incoming: Incoming) -> Sequence[Outcome]:
        if errors:
            raise errors.pop(0)
        return [ACK] * len(incoming.events)

    bench = Bench(away_for_a_while)
    with capture_logs() as logged:
        assert await bench.process(raw())
    assert [(line["event"], line["error"]) for line in logged] == [
        ("waiting", "the database"),
        ("waiting", "the broker"),
    ]
    assert len(bench.seen) == 4
    assert (bench.recorder.requeued, bench.recorder.dead) == ([], [])


async def test_a_message_that_waits_is_left_to_the_broker_when_its_link_is_lost() -> None:
    bench, link = Bench(unavailable), Link()
    processing = asyncio.create_task(bench.process(raw(), link))
    await asyncio.wait([processing], timeout=0.05)
    assert not processing.done()
    link.lose()
    assert not await processing
    assert (bench.recorder.requeued, bench.recorder.dead) == ([], [])


@pytest.mark.parametrize("kind", ["undecodable", "quarantined", "unsettled", "settled"])
async def test_what_cannot_be_sent_now_is_sent_when_the_broker_is_back(kind: str) -> None:
    async def answer(incoming: Incoming) -> Sequence[Outcome]:
        return [] if kind == "unsettled" else [DeadLetter("unfit", fails=False)]

    bench = Bench(answer)
    bench.recorder.errors.append(Unavailable("the broker is away"))
    message = raw(a_request(), delivery_count=11 if kind == "quarantined" else 0)
    if kind == "undecodable":
        message.body = b"x"
    assert await bench.process(message)
    assert (len(bench.recorder.requeued), len(bench.recorder.dead)) == ((1, 0) if kind == "quarantined" else (0, 1))
    assert not bench.recorder.errors


async def test_why_a_message_is_sent_back_is_counted() -> None:
    reasons = ["quarantined", "waiting", "recounted", "split", "acquitted"]
    before = {reason: requeued(reason) for reason in reasons}
    quarantined = Past(quarantined=True)
    bench = Bench(ack)
    await bench.process(raw(delivery_count=11))
    await asyncio.gather(*[bench.process(raw(past=quarantined)) for _ in range(2)])
    bench.handler = leave
    for count in range(LIMITS.counted + 1):
        await bench.process(raw(delivery_count=count))
    await bench.process(raw(delivery_count=LIMITS.counted + 1))
    bench.handler = ack
    await bench.process(raw(a_request(), a_request(), past=Past(quarantined=True, returns=LIMITS.trials + 1)))
    await Bench(unavailable).process(raw(past=quarantined))
    counted = {reason: requeued(reason) - was for reason, was in before.items()}
    assert counted == {"quarantined": 1, "waiting": 1, "recounted": 1, "split": 2, "acquitted": 1}


async def test_a_quarantined_message_that_is_left_while_its_database_is_away_is_not_sent_back_as_well() -> None:
    link = Link()

    async def lost_meanwhile(_: Incoming) -> Sequence[Outcome]:
        link.lose()
        raise Unavailable("the database is away")

    bench = Bench(lost_meanwhile)
    assert not await bench.process(raw(past=Past(quarantined=True)), link)
    assert (len(bench.seen), bench.recorder.requeued) == (1, [])


async def test_a_quarantined_event_is_given_up_by_who_knows_what_became_of_it() -> None:
    given_up: list[tuple[str, str]] = []

    async def give_up(event: Event, reason: str) -> Outcome:
        given_up.append((event.event_id, reason))
        return ACK

    bench, event = Bench(ack, give_up=give_up), a_request()
    assert await bench.process(raw(event, past=Past(quarantined=True, returns=6)))
    assert given_up == [(event.event_id, "given out 6 times, alone, and never finished")]
    assert (bench.recorder.dead, bench.recorder.published) == ([], [])


async def test_how_often_a_message_was_left_is_forgotten_once_it_is_done() -> None:
    bench = Bench(leave)
    for count in range(LIMITS.redeliveries + 1):
        assert not await bench.process(raw(delivery_count=count))
    bench.handler = ack
    assert await bench.process(raw(delivery_count=LIMITS.redeliveries + 1))
    assert not bench.recorder.requeued
    # The same id once more, as a message that was not left.
    assert await bench.process(raw(delivery_count=LIMITS.redeliveries + 1))
    assert len(bench.recorder.requeued) == 1


async def test_of_so_many_messages_and_no_more_it_is_remembered_that_they_were_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handling, "_MAX_LEFT", 2)
    bench = Bench(leave)

    async def came_back(name: str, count: int) -> None:
        message = raw(delivery_count=count)
        message.message_id = name
        await bench.process(message)

    for count in range(LIMITS.redeliveries + 1):
        await came_back("one", count)
    await came_back("two", 0)
    await came_back("one", LIMITS.redeliveries + 1)
    assert not bench.recorder.requeued
    # One too many: all of them count as if they had not been left.
    await came_back("three", 0)
    await came_back("one", LIMITS.redeliveries + 2)
    assert len(bench.recorder.requeued) == 1


def test_a_quarantined_message_waits_for_the_others_to_be_gone_but_not_until_they_are_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return 0.5

    async def main() -> None:
        bench = Bench(ack, retry_delay_ms=4_000)
        began_s = asyncio.get_running_loop().time()
        assert await bench.process(raw(past=Past(quarantined=True)))
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(2)

    monkeypatch.setattr("random.uniform", uniform)
    run_virtually(main)
    assert asked[0] == (0.2, 0.8)


@pytest.mark.parametrize("handler_traces", [None, False, True])
async def test_the_trace_of_a_message_s_events_holds_its_handling_unless_the_handler_sees_to_it(
    handler_traces: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans, "_tracer", provider.get_tracer("test"))
    events = [a_request() for _ in range(3)]
    for trace, event in enumerate(events, 1):
        event.traceparent = f"00-{trace:032x}-{7:016x}-01"
    bench = Bench(ack, handler_traces=handler_traces)
    assert await bench.process(raw(*events))
    made = exporter.get_finished_spans()
    assert len(made) == (0 if handler_traces else 3)
    for span in made:
        assert span.attributes is not None
        assert span.attributes["messaging.destination.name"] == QUEUE
        assert span.attributes["messaging.message.id"] == "m"
        assert span.attributes["messaging.batch.message_count"] == 3


@pytest.mark.parametrize(
    "past",
    [Past(), Past(failures=2), Past(returns=3), Past(quarantined=True), Past(replayed=True), Past(2, 3, True, True)],
)
def test_a_past_is_known_again_by_its_headers(past: Past) -> None:
    assert past_of(headers_of(past)) == past


def test_the_headers_are_those_that_earlier_versions_know() -> None:
    assert headers_of(Past()) == {"wavecom-failures": 0}
    assert headers_of(Past(1, 2, True, True)) == {
        "wavecom-failures": 1,
        "wavecom-returns": 2,
        "wavecom-suspect": 1,
        "wavecom-replayed": 1,
    }


def test_how_often_the_broker_gave_a_message_out_is_in_its_header() -> None:
    assert delivery_count({"x-delivery-count": 3}) == 3
    assert delivery_count({}) == delivery_count({"x-delivery-count": "3"}) == 0
