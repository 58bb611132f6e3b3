"""What is sent for each outcome: where, with which headers, and what is counted. To the last field, with no broker."""

import asyncio
from collections.abc import Sequence

import pytest
from aio_pika import DeliveryMode, Message
from prometheus_client import REGISTRY
from wavecom_common.events import codec, routing, types
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.messaging.headers import Past
from wavecom_common.messaging.incoming import Incoming, Raw
from wavecom_common.messaging.outcome import ACK, DeadLetter, Outcome, Retry
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.messaging.settlement import Settlement
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_proto.v1.events_pb2 import Event

QUEUE = "some.queue"
NOW_MS = 5_000
LETTER = {"wavecom-queue": QUEUE, "wavecom-reason": "unfit", "wavecom-dead-at-ms": NOW_MS}


class Clock:
    def now_ms(self) -> int:
        return NOW_MS

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


class Recorder(EventPublisher):
    """Makes messages as the real one does, and keeps what is published. With an error set, it raises that."""

    def __init__(self) -> None:
        super().__init__("amqp://", name="test", required_queues=[])
        self.sent: list[tuple[str, str, Message]] = []
        self.published: list[Event] = []
        self.error: Exception | None = None

    async def publish_message(
        self, exchange: str, routing_key: str, message: Message, *, timeout_s: float | None = None
    ) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append((exchange, routing_key, message))

    async def publish(self, events: Sequence[Event], *, timeout_s: float | None = None) -> None:
        self.published += events


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def settlement(recorder: Recorder) -> Settlement:
    return Settlement(recorder, Clock())


def incoming(*events: Event, **past: int) -> Incoming:
    return Incoming(QUEUE, "m", events, asyncio.Event(), past=Past(**past))  # type: ignore[arg-type]


def events_of(message: Message) -> Sequence[Event]:
    return codec.decode(message.body, content_type=message.content_type, content_encoding=message.content_encoding)


def counted(metric: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(metric, {"queue": QUEUE} | labels) or 0


async def test_what_is_dealt_with_needs_nothing(settlement: Settlement, recorder: Recorder) -> None:
    await settlement.settle(incoming(a_request(), a_request()), [ACK, ACK])
    assert (recorder.sent, recorder.published) == ([], [])


async def test_each_event_s_outcome_is_carried_out(settlement: Settlement, recorder: Recorder) -> None:
    events = [a_request() for _ in range(4)]
    outcomes: list[Outcome] = [DeadLetter("unfit"), ACK, Retry(2_000, "not yet"), Retry(500, "not yet")]
    await settlement.settle(incoming(*events), outcomes)
    assert [(exchange, key, events_of(message)) for exchange, key, message in recorder.sent] == [
        ("wavecom.dead", QUEUE, [events[0]]),
        ("wavecom.retry.2s", f"queue.{QUEUE}", [events[2]]),
        ("wavecom.retry.500ms", f"queue.{QUEUE}", [events[3]]),
    ]


@pytest.mark.parametrize(("failed", "failures"), [(0, 2), (1, 3)])
async def test_a_retry_keeps_its_past_and_counts_a_failure(
    settlement: Settlement, recorder: Recorder, failed: int, failures: int
) -> None:
    before = counted("wavecom_events_handler_retries_total")
    past = {"failures": 2, "returns": 4, "quarantined": True, "replayed": True}
    await settlement.settle(incoming(a_request(), **past), [Retry(500, "not yet", failed)])
    [(_, _, message)] = recorder.sent
    assert message.headers == {
        "wavecom-failures": failures,
        "wavecom-returns": 4,
        "wavecom-suspect": 1,
        "wavecom-replayed": 1,
    }
    assert message.delivery_mode is DeliveryMode.PERSISTENT
    assert counted("wavecom_events_handler_retries_total") - before == 1


@pytest.mark.parametrize("work", [a_request(), a_dispatch()], ids=lambda event: event.type)
async def test_a_dead_letter_ends_its_notification(settlement: Settlement, recorder: Recorder, work: Event) -> None:
    before = counted("wavecom_events_dead_lettered_total")
    await settlement.settle(incoming(work), [DeadLetter("unfit")])
    [(_, _, message)] = recorder.sent
    assert message.headers == LETTER
    assert recorder.published == [types.failed(work, error="unfit", reason=types.DEAD_LETTER, now_ms=NOW_MS)]
    assert counted("wavecom_events_dead_lettered_total") - before == 1


async def test_a_dead_letter_ends_nothing_that_others_end_or_that_is_no_work(
    settlement: Settlement, recorder: Recorder
) -> None:
    report = types.sent(a_dispatch(), provider="p", provider_message_id="", now_ms=1)
    await settlement.settle(incoming(a_request(), report), [DeadLetter("unfit", fails=False), DeadLetter("unfit")])
    assert len(recorder.sent) == 2
    assert recorder.published == []


async def test_what_is_not_confirmed_is_neither_reported_nor_counted(
    settlement: Settlement, recorder: Recorder
) -> None:
    before = counted("wavecom_events_dead_lettered_total"), counted("wavecom_events_handler_retries_total")
    recorder.error = Unavailable("the broker is away")
    for outcome in (DeadLetter("unfit"), Retry(500, "not yet")):
        with pytest.raises(Unavailable):
            await settlement.settle(incoming(a_request()), [outcome])
    assert recorder.published == []
    after = counted("wavecom_events_dead_lettered_total"), counted("wavecom_events_handler_retries_total")
    assert after == before


async def test_a_message_that_cannot_be_read_is_a_dead_letter_as_it_came(
    settlement: Settlement, recorder: Recorder
) -> None:
    before = counted("wavecom_events_dead_lettered_total")
    await settlement.dead_letter(Raw(QUEUE, "m", b"body", "any/type", "any-encoding"), "unfit")
    [(exchange, key, message)] = recorder.sent
    assert (exchange, key) == ("wavecom.dead", QUEUE)
    assert (message.body, message.content_type, message.content_encoding) == (b"body", "any/type", "any-encoding")
    assert message.headers == LETTER
    assert message.delivery_mode is DeliveryMode.PERSISTENT
    assert message.message_id not in (None, "", "m")
    assert counted("wavecom_events_dead_lettered_total") - before == 1


async def test_events_that_cannot_be_settled_are_a_dead_letter_together(
    settlement: Settlement, recorder: Recorder
) -> None:
    events = [a_request(), a_request()]
    await settlement.dead_letter_events(incoming(*events), "unfit")
    [(exchange, key, message)] = recorder.sent
    assert (exchange, key, events_of(message), message.headers) == ("wavecom.dead", QUEUE, events, LETTER)


async def test_a_message_is_sent_back_unread_with_its_past(settlement: Settlement, recorder: Recorder) -> None:
    before = counted("wavecom_messages_requeued_total", reason="quarantined")
    raw = Raw(QUEUE, "m", b"body", "any/type", "any-encoding")
    await settlement.requeue(raw, Past(quarantined=True), delay_ms=500, reason="quarantined")
    [(exchange, key, message)] = recorder.sent
    assert (exchange, key) == ("wavecom.retry.500ms", f"queue.{QUEUE}")
    assert (message.body, message.content_type, message.content_encoding) == (b"body", "any/type", "any-encoding")
    assert message.headers == {"wavecom-failures": 0, "wavecom-suspect": 1}
    assert message.delivery_mode is DeliveryMode.PERSISTENT
    assert counted("wavecom_messages_requeued_total", reason="quarantined") - before == 1


async def test_events_are_sent_back_together_with_their_past(settlement: Settlement, recorder: Recorder) -> None:
    events = [a_request(), a_request()]
    await settlement.requeue_events(incoming(*events), Past(returns=3), delay_ms=500, reason="split")
    [(exchange, key, message)] = recorder.sent
    assert (exchange, key, events_of(message)) == ("wavecom.retry.500ms", f"queue.{QUEUE}", events)
    assert message.headers == {"wavecom-failures": 0, "wavecom-returns": 3}


async def test_an_outcome_for_each_event_is_asked_for(settlement: Settlement) -> None:
    with pytest.raises(ValueError, match="shorter"):
        await settlement.settle(incoming(a_request(), a_request()), [ACK])


async def test_large_events_leave_compressed(settlement: Settlement, recorder: Recorder) -> None:
    event = a_request(message="again and again " * 2_000)
    await settlement.settle(incoming(event), [DeadLetter("unfit", fails=False)])
    [(_, _, message)] = recorder.sent
    assert message.content_encoding == codec.GZIP
    assert events_of(message) == [event]


def test_the_names_of_the_queues_and_exchanges_of_this_test_are_those_of_the_plan() -> None:
    assert (routing.DEAD_EXCHANGE, routing.retry_name(500)) == ("wavecom.dead", "wavecom.retry.500ms")
