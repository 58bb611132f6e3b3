"""The publisher on a broker in memory: what is sent, when a call returns, and what its errors say, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import pytest
from aio_pika import DeliveryMode
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from wavecom_common.events import codec, routing, types
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Overloaded, Retryable, Unavailable, Unroutable
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.telemetry import spans
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_proto.v1.events_pb2 import Event

from .memory_broker import URL, MemoryBroker, virtually

Run: TypeAlias = Callable[[Callable[[MemoryBroker], Awaitable[None]]], None]
pause = SYSTEM_CLOCK.sleep

PROJECTOR, DISPATCHER = routing.PROJECTOR_QUEUE, routing.DISPATCHER_QUEUE
EMAIL_KEY = "notification.dispatched.email.medium"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return lambda main: virtually(monkeypatch, main)


def publishing(
    *required: str, wait: bool = True, url: str = URL, **options: Any
) -> AbstractAsyncContextManager[EventPublisher]:
    @asynccontextmanager
    async def run_it() -> object:
        publisher = EventPublisher(url, name="test", required_queues=required, **options)
        assert publisher.ready() == "not connected to the broker"
        await publisher.start()
        if wait:
            await pause(0.1)
        yield publisher
        await publisher.close()

    return run_it()  # type: ignore[return-value]


def begun(publisher: EventPublisher, *events: Event, timeout_s: float | None = None) -> "asyncio.Task[None]":
    return asyncio.ensure_future(publisher.publish(events, timeout_s=timeout_s))  # type: ignore[arg-type]


async def error_of(publish: Awaitable[None]) -> tuple[type[Retryable], str, bool]:
    """The error of a call: its type, its text, and whether any of the events may be with the broker."""
    with pytest.raises(Retryable) as raised:
        await publish
    return type(raised.value), str(raised.value), raised.value.handed_over


def sent(broker: MemoryBroker) -> list[tuple[str, str, Sequence[Event]]]:
    return [(one.exchange, one.key, one.events) for one in broker.published]


def counted(metric: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(metric, labels) or 0


def test_an_event_is_with_the_broker_when_the_call_returns_and_not_before(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        event = a_dispatch()
        async with publishing() as publisher:
            assert publisher.ready() is None
            broker.confirms.clear()
            publish = begun(publisher, event)
            await pause(1)
            assert not publish.done()
            [one] = broker.published
            assert (one.exchange, one.key, one.events, one.mandatory) == ("wavecom.events", EMAIL_KEY, [event], True)
            assert one.message.delivery_mode is DeliveryMode.PERSISTENT
            assert (one.message.content_type, one.message.content_encoding) == (codec.CONTENT_TYPE, None)
            assert one.message.headers == {}
            broker.confirms.set()
            await publish
            assert (publisher.messages_published, publisher.events_published) == (1, 1)
        assert all(connection.gone for connection in broker.connections)

    run(main)


def test_the_channel_confirms_and_returns(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        async with publishing():
            [connection] = broker.connections
            assert {"publisher_confirms": True, "on_return_raises": True} in [
                one.options for one in connection.channels
            ]

    run(main)


def test_a_request_is_published_once_for_each_of_its_queues_the_event_store_s_first(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        event = a_request()
        async with publishing() as publisher:
            broker.confirms.clear()
            publish = begun(publisher, event)
            await pause(1)
            assert sent(broker) == [("wavecom.events", "notification.requested", [event])]
            broker.confirms.set()
            await publish
        assert sent(broker)[1:] == [("wavecom.events", f"queue.{DISPATCHER}", [event])]
        first, second = (one.message.message_id for one in broker.published)
        assert first != second
        # Two messages of one event: counted as what was handed over once.
        assert (publisher.messages_published, publisher.events_published) == (1, 1)

    run(main)


def test_events_of_one_key_share_messages_of_so_many_and_those_of_other_keys_do_not(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        emails = [a_dispatch() for _ in range(5)]
        text = a_dispatch(request=a_request(channel="sms"))
        before = counted("wavecom_batch_size_sum", what="publish"), counted("wavecom_batch_size_count", what="publish")
        async with publishing(max_events=2) as publisher:
            await publisher.publish([emails[0], text, *emails[1:]])
        assert {key for _, key, _ in sent(broker)} == {EMAIL_KEY, "notification.dispatched.sms.medium"}
        groups = [events for _, key, events in sent(broker) if key == EMAIL_KEY]
        assert [event for group in groups for event in group] == emails
        assert max(map(len, groups)) == 2
        assert publisher.events_published == 6
        after = counted("wavecom_batch_size_sum", what="publish"), counted("wavecom_batch_size_count", what="publish")
        assert (after[0] - before[0], after[1] - before[1]) == (6, len(broker.published))

    run(main)


def test_nothing_is_published_of_no_events(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        async with publishing() as publisher:
            await publisher.publish([])
        assert broker.published == []

    run(main)


def test_what_is_for_later_goes_to_its_delay_under_its_own_key(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        event = a_dispatch()
        async with publishing() as publisher:
            await publisher.publish_later([event], delay_ms=5_000)
        assert sent(broker) == [("wavecom.retry.5s", EMAIL_KEY, [event])]

    run(main)


def test_a_request_for_later_goes_to_its_delay_and_on_from_there(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        event = a_request()
        async with publishing() as publisher:
            await publisher.publish_later([event], delay_ms=5_000)
        assert sent(broker) == [
            ("wavecom.retry.5s", "notification.requested", [event]),
            ("wavecom.retry.5s", f"queue.{DISPATCHER}", [event]),
        ]

    run(main)


def test_a_large_message_is_compressed_and_the_saving_counted(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        event = a_dispatch(request=a_request(message="again and again " * 2_000))
        names = "wavecom_compression_input_bytes_total", "wavecom_compression_output_bytes_total"
        before = [counted(name) for name in names]
        async with publishing() as publisher:
            await publisher.publish([event, a_dispatch(request=a_request(channel="sms"))])
        [packed] = [one for one in broker.published if one.message.content_encoding == codec.GZIP]
        assert packed.events == [event]
        plain, small = (counted(name) - was for name, was in zip(names, before, strict=True))
        assert (plain > 32_000, small) == (True, len(packed.message.body))

    run(main)


def test_without_a_link_a_call_waits_ten_seconds_and_nothing_is_handed_over(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.up.clear()
        async with publishing() as publisher:
            loop = asyncio.get_running_loop()
            since_s = loop.time()
            error = await error_of(publisher.publish([a_dispatch()]))
            assert error == (Unavailable, "not connected to the broker", False)
            assert loop.time() - since_s == pytest.approx(10)
            error = await error_of(publisher.publish([a_dispatch()], timeout_s=2))
            assert error == (Unavailable, "no confirm within 2 s", False)
            # One that is there in time is used.
            publish = begun(publisher, a_dispatch())
            await pause(1)
            broker.up.set()
            await publish
        assert len(broker.published) == 1

    run(main)


def test_what_is_not_confirmed_in_time_may_be_with_the_broker(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        async with publishing() as publisher:
            broker.confirms.clear()
            error = await error_of(publisher.publish([a_dispatch()], timeout_s=0.5))
            assert error == (Unavailable, "no confirm within 0.5 s", True)

    run(main)


def test_what_was_given_up_before_it_was_sent_is_never_sent(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        async with publishing(max_events=1) as publisher:
            broker.confirms.clear()
            # Two batches are under way; the third waits here.
            first = [begun(publisher, a_dispatch()) for _ in range(2)]
            await pause(0.1)
            late = a_dispatch()
            assert await error_of(publisher.publish([late], timeout_s=1)) == (
                Unavailable,
                "no confirm within 1 s",
                False,
            )
            broker.confirms.set()
            await asyncio.gather(*first)
            await pause(1)
        assert len(broker.published) == 2
        assert late not in [event for one in broker.published for event in one.events]

    run(main)


def test_what_waits_on_a_link_that_is_lost_is_published_again_over_the_next(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        event = a_dispatch()
        async with publishing() as publisher:
            broker.confirms.clear()
            publish = begun(publisher, event)
            await pause(1)
            broker.cut()
            await pause(0.01)
            assert publisher.ready() == "not connected to the broker"
            broker.confirms.set()
            await publish
            assert publisher.ready() is None
        assert sent(broker) == [("wavecom.events", EMAIL_KEY, [event])] * 2
        assert len(broker.connections) == 2

    run(main)


def test_a_confirm_that_the_library_forgets_with_its_link_is_waited_for_no_more(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        event = a_dispatch()
        async with publishing() as publisher:
            broker.forgetful = True
            broker.confirms.clear()
            publish = begun(publisher, event)
            await pause(1)
            broker.cut()
            broker.forgetful = False
            await pause(6)
            assert sent(broker) == [("wavecom.events", EMAIL_KEY, [event])] * 2
            broker.confirms.set()
            await publish

    run(main)


def test_a_busy_publisher_waits_for_company_for_milliseconds_only(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        async with publishing() as publisher:

            async def client() -> None:
                for _ in range(5):
                    await publisher.publish([a_dispatch()])

            since_s = asyncio.get_running_loop().time()
            await asyncio.gather(*[client() for _ in range(30)])
            assert asyncio.get_running_loop().time() - since_s < 0.1
        assert len(broker.published) <= 20

    run(main)


@pytest.mark.parametrize("bound", [True, False])
def test_the_trace_of_an_event_holds_its_publishing_and_how_that_ended(
    run: Run, monkeypatch: pytest.MonkeyPatch, bound: bool
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans, "_tracer", provider.get_tracer("test"))

    async def main(broker: MemoryBroker) -> None:
        event = a_dispatch()
        event.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        if not bound:
            broker.unbound.add(("wavecom.events", EMAIL_KEY))
        async with publishing() as publisher:
            await asyncio.gather(publisher.publish([event]), return_exceptions=True)

    run(main)
    [span] = exporter.get_finished_spans()
    assert span.kind is SpanKind.PRODUCER
    assert (span.status.status_code is StatusCode.ERROR) is not bound
    assert span.attributes is not None
    assert span.attributes["messaging.rabbitmq.destination.routing_key"] == EMAIL_KEY


def test_an_unbound_key_is_reported_until_a_message_under_it_arrives_or_it_is_looked_at_again(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.unbound.add(("wavecom.events", EMAIL_KEY))
        text = f"no queue is bound to wavecom.events for {EMAIL_KEY}"
        async with publishing() as publisher:
            for _ in range(2):
                assert await error_of(publisher.publish([a_dispatch()])) == (Unroutable, text, True)
                assert publisher.ready() == f"{text}: run `wavecom topology apply`"
            # Others go their way, and say nothing about it.
            await publisher.publish([a_dispatch(request=a_request(channel="sms"))])
            assert publisher.ready() is not None
            broker.unbound.clear()
            await publisher.publish([a_dispatch()])
            assert publisher.ready() is None
            broker.unbound.add(("wavecom.events", EMAIL_KEY))
            await error_of(publisher.publish([a_dispatch()]))
            await pause(4)
            assert publisher.ready() is None

    run(main)


def test_a_request_whose_second_queue_is_unbound_is_not_sent_to_the_first_again(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.unbound.add(("wavecom.events", f"queue.{DISPATCHER}"))
        async with publishing() as publisher:
            for handed_over in (True, False):
                error, text, may_be_there = await error_of(publisher.publish([a_request()]))
                assert (error, may_be_there) == (Unroutable, handed_over)
                assert f"queue.{DISPATCHER}" in text
            assert [key for _, key, _ in sent(broker)] == ["notification.requested", f"queue.{DISPATCHER}"]

    run(main)


def test_while_a_required_queue_is_missing_nothing_is_sent(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {"one": 0}
        with capture_logs() as logged:
            async with publishing("one", "two") as publisher:
                assert publisher.ready() == "queue two is missing: run `wavecom topology apply`"
                error = await error_of(publisher.publish([a_dispatch()]))
                assert error == (Unroutable, "queue two is missing", False)
                assert broker.published == []
                broker.depths["two"] = 0
                # It is looked for every second.
                await pause(1.5)
                assert publisher.ready() is None
                await publisher.publish([a_dispatch()])
                # And, once there, every three.
                del broker.depths["one"]
                await pause(1.5)
                assert publisher.ready() is None
                await pause(2)
                assert publisher.ready() == "queue one is missing: run `wavecom topology apply`"
        assert [line["queues"] for line in logged if line["event"] == "queues_missing"] == [["two"], ["one"]]

    run(main)


def test_a_queue_that_is_full_is_overloaded_until_there_is_room(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        async with publishing() as publisher:
            await publisher.publish([a_dispatch()])
            broker.full.add(PROJECTOR)
            with capture_logs() as logged:
                for _ in range(2):
                    error, text, handed_over = await error_of(publisher.publish([a_dispatch()]))
                    expected = f"the broker refused a message to wavecom.events for {EMAIL_KEY}: a queue is full"
                    assert (error, text, handed_over) == (Overloaded, expected, True)
            assert [line["event"] for line in logged] == ["queue_full"]
            broker.full.clear()
            await publisher.publish([a_dispatch()])
            assert publisher.ready() is None
            # When it is full once more, that is news.
            broker.full.add(PROJECTOR)
            with capture_logs() as logged:
                await error_of(publisher.publish([a_dispatch()]))
            assert [line["event"] for line in logged] == ["queue_full"]
        assert len(broker.connections) == 1

    run(main)


def test_the_first_message_of_a_channel_that_is_refused_is_published_again_over_another_channel(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        # What a queue whose leader is dead shows.
        broker.depths = {PROJECTOR: 0, routing.sender_queue("email", "medium"): 0}
        broker.full.add(PROJECTOR)
        async with publishing() as publisher:
            with capture_logs() as logged:
                publish = begun(publisher, a_dispatch())
                await pause(0.1)
                assert publisher.ready() == "not connected to the broker"
                broker.full.clear()
                await publish
            assert publisher.ready() is None
        [loss] = [line for line in logged if line["event"] == "link_lost"]
        assert "the broker refused the first message of a channel to" in loss["cause"]
        assert PROJECTOR in loss["cause"]
        assert len(broker.connections) == 2

    run(main)


def test_a_first_message_refused_by_queues_that_show_messages_is_a_full_queue(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {PROJECTOR: 5, routing.sender_queue("email", "medium"): 5}
        broker.full.add(PROJECTOR)
        async with publishing() as publisher:
            # Once more on the same channel: then it is believed.
            error, _, handed_over = await error_of(publisher.publish([a_dispatch()]))
            assert (error, handed_over) == (Overloaded, True)
            assert publisher.ready() is None
        assert len(broker.connections) == 1

    run(main)


def test_a_broker_that_refuses_and_does_not_say_why_is_left_at_once(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {PROJECTOR: 5, routing.sender_queue("email", "medium"): 5}
        broker.full.add(PROJECTOR)
        with capture_logs() as logged:
            async with publishing() as publisher:
                broker.answers.clear()
                publish = begun(publisher, a_dispatch())
                await pause(2)
                assert [line["event"] for line in logged if line["event"] == "link_lost"] == ["link_lost"]
                broker.answers.set()
                broker.full.clear()
                await publish

    run(main)


def test_a_link_on_which_nothing_is_confirmed_is_left_for_another_and_doubted(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        event = a_dispatch()
        with capture_logs() as logged:
            async with publishing(stall_limit_s=12) as publisher:
                broker.confirms.clear()
                publish = begun(publisher, event)
                await pause(4.5)
                assert publisher.ready() is None
                await pause(1)
                assert publisher.ready() in ("the broker has not confirmed or answered for 5 s",
                                             "the broker has not confirmed or answered for 6 s")  # fmt: skip
                await pause(6)
                assert len(broker.connections) == 1
                await pause(2.5)
                assert len(broker.connections) == 2
                # On the new link as well nothing is confirmed.
                assert publisher.ready() == "the broker confirmed nothing on the last link"
                broker.confirms.set()
                await publish
                assert publisher.ready() is None
        [loss] = [line for line in logged if line["event"] == "link_lost"]
        assert loss["cause"].startswith(f"a message to wavecom.events for {EMAIL_KEY} is not confirmed after 1")

    run(main)


def test_the_next_link_that_confirms_nothing_is_left_after_twice_the_time(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        async with publishing(stall_limit_s=12) as publisher:
            broker.confirms.clear()
            publish = begun(publisher, a_dispatch())
            await pause(14)
            assert len(broker.connections) == 2
            await pause(20)
            assert len(broker.connections) == 2
            await pause(7)
            assert len(broker.connections) == 3
            broker.confirms.set()
            await publish

    run(main)


def test_a_link_that_was_left_is_doubted_no_more_once_the_next_has_been_good_for_a_while(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        async with publishing(stall_limit_s=12) as publisher:
            broker.confirms.clear()
            publish = begun(publisher, a_dispatch(), timeout_s=13.5)
            await pause(12.5)
            broker.up.clear()
            assert (await error_of(publish))[0] is Unavailable
            broker.up.set()
            await pause(4)
            assert publisher.ready() == "the broker confirmed nothing on the last link"
            await pause(4)
            assert publisher.ready() is None
        assert len(broker.connections) == 2

    run(main)


def test_a_broker_that_answers_no_question_makes_it_unready(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.depths = {"one": 0}
        async with publishing("one") as publisher:
            broker.answers.clear()
            await pause(3 + 4)
            assert publisher.ready() is None
            await pause(2)
            assert publisher.ready() == "the broker has not confirmed or answered for 6 s"
            await pause(7)
            assert publisher.ready() == "not connected to the broker"

    run(main)


def test_of_a_call_of_several_keys_the_first_error_is_raised_once_all_have_ended(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.unbound.add(("wavecom.events", f"queue.{DISPATCHER}"))
        async with publishing() as publisher:
            await error_of(publisher.publish([a_request()]))
            # Now it is known before: nothing of the request is sent, and all of the other.
            calls = len(broker.published)
            broker.confirms.clear()
            publish = begun(publisher, a_request(), a_dispatch())
            await pause(1)
            assert not publish.done()
            broker.confirms.set()
            error, _, handed_over = await error_of(publish)
            assert (error, handed_over) == (Unroutable, True)
            assert [one.key for one in broker.published[calls:]] == [EMAIL_KEY]

    run(main)


def test_of_a_call_of_several_keys_one_that_may_be_with_the_broker_is_enough(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        broker.unbound.add(("wavecom.events", f"queue.{DISPATCHER}"))
        async with publishing() as publisher:
            await error_of(publisher.publish([a_request()]))
            broker.confirms.clear()
            error, _, handed_over = await error_of(publisher.publish([a_request(), a_dispatch()], timeout_s=1))
            assert (error, handed_over) == (Unroutable, True)

    run(main)


def test_of_a_call_of_several_keys_of_which_nothing_was_sent_nothing_was_handed_over(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        async with publishing("missing") as publisher:
            both = [a_dispatch(), a_dispatch(request=a_request(channel="sms"))]
            assert await error_of(publisher.publish(both)) == (Unroutable, "queue missing is missing", False)
        assert broker.published == []

    run(main)


def test_callers_of_one_batch_each_hear_what_became_of_their_own_events(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        async with publishing(max_events=10) as publisher:
            broker.confirms.clear()
            first = begun(publisher, a_dispatch(), timeout_s=1)
            second = begun(publisher, a_dispatch())
            await pause(2)
            assert (first.done(), second.done()) == (True, False)
            assert await error_of(first) == (Unavailable, "no confirm within 1 s", True)
            broker.confirms.set()
            await second

    run(main)


def test_a_ready_made_message_is_sent_once_and_its_error_is_the_caller_s(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        async with publishing() as publisher:
            message = publisher.message([a_dispatch()], {"wavecom-failures": 1})
            await publisher.publish_message("wavecom.dead", "some.queue", message)
            [one] = broker.published
            assert (one.exchange, one.key, one.message.headers) == (
                "wavecom.dead",
                "some.queue",
                {"wavecom-failures": 1},
            )
            broker.confirms.clear()
            waiting = publisher.publish_message("wavecom.dead", "some.queue", message, timeout_s=1)
            assert await error_of(waiting) == (Unavailable, "no confirm within 1 s", True)
            cut = asyncio.ensure_future(publisher.publish_message("wavecom.dead", "some.queue", message))
            await pause(1)
            broker.cut()
            error, _, handed_over = await error_of(cut)
            assert (error, handed_over) == (Unavailable, True)
            broker.up.clear()
            await pause(0.01)
            waiting = publisher.publish_message("wavecom.dead", "some.queue", message, timeout_s=1)
            assert await error_of(waiting) == (Unavailable, "no confirm within 1 s", False)
            without_limit = publisher.publish_message("wavecom.dead", "some.queue", message)
            assert await error_of(without_limit) == (Unavailable, "not connected to the broker", False)
        assert len(broker.published) == 3

    run(main)


def test_large_events_are_several_messages(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        events = [a_dispatch(request=a_request(message=f"{number}" * 150_000)) for number in range(3)]
        async with publishing(compress_above_bytes=10**9) as publisher:
            await publisher.publish(events)
            assert publisher.messages_published == len(broker.published) == 3
        assert [event for one in broker.published for event in one.events] == events

    run(main)


def test_reports_of_a_channel_share_one_key_whatever_their_priority(run: Run) -> None:
    async def main(broker: MemoryBroker) -> None:
        orders = [a_dispatch(request=a_request(priority=priority)) for priority in ("high", "low")]
        reports = [types.started(order, provider="p", now_ms=1) for order in orders]
        async with publishing() as publisher:
            await publisher.publish(reports)
        assert sent(broker) == [("wavecom.events", "notification.started.email", reports)]

    run(main)
