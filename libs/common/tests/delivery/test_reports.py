"""What the delivery loop calls, stores, publishes and counts, to the last field."""

import asyncio
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import REGISTRY
from wavecom_common.delivery.ledger import Claim
from wavecom_common.delivery.port import Attempt, NotReady
from wavecom_common.events import types
from wavecom_common.events.outcomes import (
    Delivered,
    DeliveryOutcome,
    GivenUp,
    PermanentFailure,
    Throttled,
    TransientFailure,
    UnknownOutcome,
    Withdrawn,
)
from wavecom_common.events.payloads import Payload
from wavecom_common.kernel.errors import Draining, Unavailable, Unstorable
from wavecom_common.messaging.incoming import Link
from wavecom_common.messaging.outcome import ACK, DeadLetter, Retry
from wavecom_common.telemetry import spans
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

from .twins import AT_MS, NOW_MS, OWNER, Answering, Bench, Connecting, incoming

LEASE_OVER, LEASE_RUNS = Claim("other", NOW_MS - 1), Claim("other", NOW_MS + 1)
LOOK_AGAIN = Retry(1_000, "another sender has the attempt in hand")


def key(event: Event) -> str:
    return f"{event.notification_id}:{event.attempt}"


def started(event: Event, now_ms: int = AT_MS) -> Event:
    return types.started(event, provider="twin", now_ms=now_ms)


def sent(event: Event, now_ms: int = AT_MS) -> Event:
    return types.sent(event, provider="twin", provider_message_id="x", now_ms=now_ms)


def unknown(event: Event, action: str) -> Event:
    return types.outcome_unknown(event, action=action, now_ms=AT_MS)


def failed(event: Event, error: str, reason: str, now_ms: int = AT_MS) -> Event:
    return types.failed(event, error=error, reason=reason, now_ms=now_ms)


def counted(metric: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(metric, labels) or 0


def by_id(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda event: event.event_id)


async def test_a_delivery_hands_over_the_attempt_and_stores_and_publishes_when_it_ended() -> None:
    adapter, event = Answering(), a_dispatch(attempt=2)
    bench = Bench(adapter)
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert adapter.attempts == [
        Attempt(
            event.notification_id, 2, event.dedup_key, "ada@example.com", "Your order has been shipped!", "Order update"
        )
    ]
    [claim] = bench.ledger.claims.values()
    assert (claim.outcome, claim.ended_at_ms) == (Delivered("x"), AT_MS)
    assert by_id(bench.publisher.now) == by_id([started(event), sent(event)])


async def test_what_is_stored_apart_is_delivered() -> None:
    adapter, event = Answering(), a_dispatch()
    event.content.payload_id = "p"
    bench = Bench(adapter)
    bench.payloads.stored["p"] = Payload("a long letter", "its subject")
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert [(one.message, one.subject) for one in adapter.attempts] == [("a long letter", "its subject")]


async def test_what_is_stored_apart_is_delivered_by_the_sender_that_takes_over_too() -> None:
    adapter, event = Answering(), a_dispatch()
    event.content.payload_id = "p"
    bench = Bench(adapter)
    bench.payloads.stored["p"] = Payload("a long letter")
    bench.ledger.claims[key(event)] = LEASE_OVER
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert [one.message for one in adapter.attempts] == ["a long letter"]


async def test_what_is_not_stored_any_more_fails_for_good_and_is_not_called() -> None:
    adapter, event = Answering(), a_dispatch()
    event.content.payload_id = "p"
    bench = Bench(adapter)
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert adapter.calls == []
    error = "what was to be delivered is not stored any more"
    assert failed(event, error, types.PERMANENT) in bench.publisher.now


async def test_nothing_is_claimed_for_what_cannot_be_loaded() -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter)
    bench.payloads.errors.append(Unavailable("the database is away"))
    with pytest.raises(Unavailable):
        await bench.loop.handle(incoming(event))
    assert (bench.ledger.claims, adapter.calls) == ({}, [])
    assert await bench.loop.handle(incoming(event)) == [ACK]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [(TransientFailure("busy"), 100), (Throttled("slow down", 3600.0), 100), (UnknownOutcome("no answer"), 100)],
)
async def test_a_retry_goes_to_the_delay_that_its_event_names(outcome: DeliveryOutcome, expected: int) -> None:
    adapter, event = Answering(), a_dispatch()
    adapter.outcome = outcome
    bench = Bench(adapter)
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert bench.publisher.delays_ms == [expected]
    [again] = bench.publisher.later
    assert (again.type, again.attempt, again.occurred_at_ms) == (types.DISPATCHED, 2, AT_MS + expected)


async def test_a_retry_that_cannot_be_placed_keeps_its_own_message_only() -> None:
    adapter, good, bad = Answering(), a_dispatch(), a_dispatch()
    adapter.outcomes[bad.dedup_key] = TransientFailure("busy")
    bench = Bench(adapter)
    bench.publisher.later_errors.append(Unavailable("the delay queue is full"))
    handled = [bench.begin(incoming(event)) for event in (good, bad)]
    results = await asyncio.gather(*handled, return_exceptions=True)
    assert results[0] == [ACK]
    assert isinstance(results[1], Unavailable)
    # It is stored: the retry is placed when its message comes again, and nothing is called.
    assert await bench.loop.handle(incoming(bad)) == [ACK]
    assert [event.notification_id for event in bench.publisher.later] == [bad.notification_id]
    assert sorted(adapter.calls) == sorted([good.dedup_key, bad.dedup_key])


async def test_a_sender_that_takes_over_says_that_the_call_may_have_taken_effect_and_calls() -> None:
    adapter, event = Answering(), a_dispatch(request=a_request(channel="sms", priority="high"))
    bench = Bench(adapter)
    bench.ledger.claims[key(event)] = LEASE_OVER
    before = counted("wavecom_deliveries_outcome_unknown_total", channel="sms", priority="high")
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert by_id(bench.publisher.now) == by_id([started(event), unknown(event, "resend"), sent(event)])
    assert adapter.calls == [event.dedup_key]
    assert counted("wavecom_deliveries_outcome_unknown_total", channel="sms", priority="high") - before == 1


async def test_a_sender_that_takes_over_does_not_call_where_the_client_wants_no_second_call() -> None:
    adapter, event = Answering(), a_dispatch(request=a_request(channel="sms", priority="low", on_unknown="fail"))
    bench = Bench(adapter)
    bench.ledger.claims[key(event)] = LEASE_OVER
    before = counted("wavecom_deliveries_outcome_unknown_total", channel="sms", priority="low")
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert adapter.calls == []
    error = "the sender died during the provider call"
    expected = [started(event), unknown(event, "fail"), failed(event, error, types.UNKNOWN)]
    assert by_id(bench.publisher.now) == by_id(expected)
    assert counted("wavecom_deliveries_outcome_unknown_total", channel="sms", priority="low") - before == 1


async def test_only_one_of_two_senders_takes_over() -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter)
    bench.ledger.claims[key(event)] = LEASE_OVER
    bench.ledger.outrun = True
    assert await bench.loop.handle(incoming(event)) == [LOOK_AGAIN]
    assert (adapter.calls, bench.publisher.now) == ([], [])


async def test_an_attempt_that_another_sender_holds_is_left_alone_for_a_while() -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter)
    bench.ledger.claims[key(event)] = LEASE_RUNS
    assert await bench.loop.handle(incoming(event)) == [LOOK_AGAIN]
    assert (adapter.calls, bench.publisher.now) == ([], [])


async def test_a_claim_of_its_own_whose_answer_was_lost_is_called() -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter)
    bench.ledger.claims[key(event)] = Claim(OWNER, NOW_MS - 1)
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert by_id(bench.publisher.now) == by_id([started(event), sent(event)])


@pytest.mark.parametrize(
    ("outcome", "error", "reason", "result"),
    [
        (PermanentFailure("no such address"), "no such address", types.PERMANENT, ACK),
        (Withdrawn("not confirmed"), "not confirmed", types.REFUSED, ACK),
        (GivenUp("poison"), "poison", types.PERMANENT, DeadLetter("poison", fails=False)),
    ],
)
async def test_a_stored_end_is_published_again_as_of_then_and_not_counted_again(
    outcome: DeliveryOutcome, error: str, reason: str, result: object
) -> None:
    adapter, event = Answering(), a_dispatch(request=a_request(channel="push", priority="high"))
    bench = Bench(adapter)
    bench.ledger.claims[key(event)] = Claim("other", NOW_MS + 1, outcome, 77)
    before = counted("wavecom_notifications_failed_total", channel="push", priority="high", reason=reason)
    assert await bench.loop.handle(incoming(event)) == [result]
    # What never began to be called has no start.
    begun = [started(event, 77)] if isinstance(outcome, PermanentFailure) else []
    assert bench.publisher.now == [*begun, failed(event, error, reason, 77)]
    assert counted("wavecom_notifications_failed_total", channel="push", priority="high", reason=reason) == before


async def test_an_operator_s_replay_of_what_was_not_given_up_changes_nothing() -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter)
    bench.ledger.claims[key(event)] = Claim("other", 0, Delivered("x"), 77)
    assert await bench.loop.handle(incoming(event, replayed=True)) == [ACK]
    assert bench.publisher.now == [started(event, 77), sent(event, 77)]


async def test_an_operator_s_replay_of_what_was_given_up_keeps_the_dedup_key() -> None:
    event = a_dispatch()
    bench = Bench(Answering())
    bench.ledger.claims[key(event)] = Claim("other", 0, GivenUp("poison"), 77)
    assert await bench.loop.handle(incoming(event, replayed=True)) == [ACK]
    assert bench.publisher.now == [types.dispatched(event, attempt=2, now_ms=AT_MS, dedup_key=event.dedup_key)]


async def test_a_call_is_measured_and_so_is_the_time_from_acceptance_to_the_provider_s_yes() -> None:
    adapter, event = Answering(), a_dispatch(request=a_request(channel="push", priority="medium", now_ms=AT_MS - 2_000))
    bench = Bench(adapter)
    name, labels = "wavecom_post_to_sent_duration_seconds", {"channel": "push", "priority": "medium"}
    called = counted("wavecom_provider_duration_seconds_count", provider="twin", outcome="Delivered")
    took_s = counted("wavecom_provider_duration_seconds_sum", provider="twin", outcome="Delivered")
    count, total = counted(f"{name}_count", **labels), counted(f"{name}_sum", **labels)
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert (counted(f"{name}_count", **labels), counted(f"{name}_sum", **labels)) == (count + 1, total + 2.0)
    assert counted("wavecom_provider_duration_seconds_count", provider="twin", outcome="Delivered") == called + 1
    assert 0 < counted("wavecom_provider_duration_seconds_sum", provider="twin", outcome="Delivered") - took_s < 5


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (RuntimeError("ada@example.com"), "the adapter raised RuntimeError"),
        (asyncio.CancelledError(), "the adapter's call was cancelled"),
        (TimeoutError(), "no answer from the provider within 600 s"),
    ],
)
async def test_an_unknown_outcome_says_how_the_call_ended_and_no_address(raised: BaseException, error: str) -> None:
    adapter, event = Answering(), a_dispatch()
    adapter.error = raised
    bench = Bench(adapter)
    assert await bench.loop.handle(incoming(event)) == [ACK]
    [claim] = bench.ledger.claims.values()
    assert claim.outcome == UnknownOutcome(error)


async def test_a_provider_that_does_not_answer_in_time_leaves_the_outcome_unknown() -> None:
    adapter = Answering()
    adapter.gate.clear()
    bench = Bench(adapter, provider_timeout_s=0.02)
    assert await bench.loop.handle(incoming(a_dispatch())) == [ACK]
    [claim] = bench.ledger.claims.values()
    assert claim.outcome == UnknownOutcome("no answer from the provider within 0.02 s")


async def test_an_answer_that_is_no_outcome_leaves_it_unknown() -> None:
    adapter = Answering()
    adapter.outcome = "fine"  # type: ignore[assignment]
    bench = Bench(adapter)
    assert await bench.loop.handle(incoming(a_dispatch())) == [ACK]
    [claim] = bench.ledger.claims.values()
    assert claim.outcome == UnknownOutcome("the adapter returned str, which is no outcome")


async def test_a_process_that_is_cancelled_reports_no_outcome_and_holds_nothing() -> None:
    adapter, event = Answering(), a_dispatch()
    adapter.gate.clear()
    bench = Bench(adapter, max_in_flight=1)
    handled = bench.begin(incoming(event))
    await eventually(lambda: adapter.calls)
    handled.cancel()
    await asyncio.gather(handled, return_exceptions=True)
    await eventually(lambda: not bench.ledger.held)
    assert bench.ledger.claims[key(event)].outcome is None
    adapter.gate.set()
    assert await bench.loop.handle(incoming(a_dispatch())) == [ACK]


async def test_a_type_that_no_sender_knows_is_dead_lettered_with_the_beginning_of_its_name() -> None:
    bench, event = Bench(Answering()), a_dispatch()
    event.type = "x" * 100
    reason = f"a sender does not know the event type {'x' * 64!r}"
    assert await bench.loop.handle(incoming(event)) == [DeadLetter(reason)]
    assert (bench.ledger.claims, bench.publisher.now) == ({}, [])


async def test_a_type_that_no_sender_knows_keeps_nothing_from_the_attempt_it_names() -> None:
    adapter, event, other = Answering(), a_dispatch(), a_dispatch()
    other.CopyFrom(event)
    other.type, other.event_id = "SomethingNew", "another"
    bench = Bench(adapter)
    outcomes = await bench.loop.handle(incoming(other, event))
    assert [type(outcome) for outcome in outcomes] == [DeadLetter, type(ACK)]
    assert adapter.calls == [event.dedup_key]


async def test_deliveries_of_a_message_are_claimed_and_stored_together() -> None:
    adapter, events = Answering(), [a_dispatch() for _ in range(3)]
    bench = Bench(adapter)
    assert await bench.loop.handle(incoming(*events)) == [ACK] * 3
    assert bench.ledger.claimed == [[key(event) for event in events]]
    assert [{one.key for one in settled} for settled in bench.ledger.settled] == [{key(event) for event in events}]


async def test_each_of_those_that_are_stored_together_has_its_own_result() -> None:
    adapter = Answering()
    fine, busy, gone = events = [a_dispatch() for _ in range(3)]
    adapter.outcomes = {busy.dedup_key: TransientFailure("busy"), gone.dedup_key: PermanentFailure("gone")}
    bench = Bench(adapter)
    assert await bench.loop.handle(incoming(*events)) == [ACK] * 3
    ends = {event.notification_id: event.type for event in bench.publisher.now if event.type != types.STARTED}
    assert ends == {
        fine.notification_id: types.SENT,
        busy.notification_id: types.RETRY_SCHEDULED,
        gone.notification_id: types.FAILED,
    }


async def test_an_event_that_a_message_holds_twice_is_delivered_once() -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter, max_in_flight=2)
    assert await bench.loop.handle(incoming(event, event)) == [ACK, ACK]
    assert adapter.calls == [event.dedup_key]


async def test_the_priority_of_its_message_decides_about_an_event_s_turn() -> None:
    adapter = Answering()
    adapter.gate.clear()
    bench = Bench(adapter, max_in_flight=1)
    first, low, high = (a_dispatch(request=a_request(priority=priority)) for priority in ("low", "low", "high"))
    handled = [bench.begin(incoming(first))]
    await eventually(lambda: adapter.calls)
    handled += [bench.begin(incoming(event)) for event in (low, high)]
    adapter.gate.set()
    await asyncio.gather(*handled)
    assert adapter.calls == [first.dedup_key, high.dedup_key, low.dedup_key]


async def test_a_message_that_is_left_half_begun_ends_what_it_began_and_comes_again() -> None:
    adapter, link, events = Answering(), Link(), [a_dispatch() for _ in range(2)]
    adapter.gate.clear()
    bench = Bench(adapter, max_in_flight=1)
    handled = bench.begin(incoming(*events, link=link))
    await eventually(lambda: adapter.calls)
    link.abandoned.set()
    await asyncio.wait([handled], timeout=0.05)
    assert not handled.done()
    adapter.gate.set()
    with pytest.raises(Draining):
        await handled
    assert adapter.calls == [events[0].dedup_key]
    assert bench.ledger.claims[key(events[0])].outcome == Delivered("x")
    assert await bench.loop.handle(incoming(*events)) == [ACK, ACK]
    assert adapter.calls == [event.dedup_key for event in events]


async def test_lines_for_which_there_is_no_slot_go_back() -> None:
    adapter = Connecting(3)
    bench = Bench(adapter, max_in_flight=1)
    assert await bench.loop.handle(incoming(*[a_dispatch() for _ in range(3)])) == [ACK] * 3
    assert adapter.lent == 0
    assert await bench.loop.handle(incoming(a_dispatch())) == [ACK]


async def test_a_connection_had_in_the_moment_the_link_is_lost_goes_back() -> None:
    adapter, link = Connecting(1), Link()
    bench, ready = Bench(adapter), adapter.ready

    async def ready_and_gone() -> object:
        connection = await ready()
        link.lose()
        return connection

    adapter.ready = ready_and_gone  # type: ignore[assignment, method-assign]
    with pytest.raises(Draining):
        await bench.loop.handle(incoming(a_dispatch(), link=link))
    assert (adapter.calls, bench.ledger.claims, adapter.lent) == ([], {}, 0)
    adapter.ready = ready  # type: ignore[method-assign]
    assert await bench.loop.handle(incoming(a_dispatch())) == [ACK]


async def test_an_outcome_is_remembered_only_until_it_is_stored() -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter)
    assert await bench.loop.handle(incoming(event)) == [ACK]
    bench.ledger.claims.clear()
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert adapter.calls == [event.dedup_key] * 2


async def test_outcomes_wait_for_a_ledger_that_is_away_also_while_the_process_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter)
    settle_all, away = bench.ledger.settle_all, [Unavailable("away"), Unavailable("away")]

    async def flaky(settled: object) -> object:
        if away:
            raise away.pop()
        return await settle_all(settled)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.ledger, "settle_all", flaky)
    message = incoming(event)
    message.draining.set()
    assert await bench.loop.handle(message) == [ACK]
    assert bench.ledger.claims[key(event)].outcome == Delivered("x")
    assert adapter.calls == [event.dedup_key]


async def test_the_first_stored_outcome_counts_when_two_senders_called() -> None:
    adapter, event = Answering(), a_dispatch()
    adapter.gate.clear()
    bench = Bench(adapter)
    handled = bench.begin(incoming(event))
    await eventually(lambda: adapter.calls)
    claim = bench.ledger.claims[key(event)]
    bench.ledger.claims[key(event)] = replace(claim, owner="other", outcome=PermanentFailure("gone"), ended_at_ms=77)
    adapter.gate.set()
    assert await handled == [ACK]
    assert by_id(bench.publisher.now) == by_id([started(event), failed(event, "gone", types.PERMANENT, 77)])


async def test_a_known_outcome_that_is_not_stored_counts_also_when_the_claim_was_taken_over() -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter)
    bench.ledger.claims[key(event)] = LEASE_OVER
    bench.ledger.refused.add(key(event))
    with pytest.raises(Unstorable):
        await bench.loop.handle(incoming(event))
    bench.ledger.refused.clear()
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert adapter.calls == [event.dedup_key]
    assert bench.publisher.types().count(types.SENT) == 1


async def test_a_stop_ends_the_wait_for_another_connection_also_of_the_sender_that_takes_over() -> None:
    adapter, event = Connecting(1), a_dispatch()
    bench, ready = Bench(adapter), adapter.ready

    async def once() -> object:
        connection = await ready()
        adapter.away = NotReady("refused")
        return connection

    adapter.ready = once  # type: ignore[assignment, method-assign]
    adapter.breaks = 1
    bench.ledger.claims[key(event)] = LEASE_OVER
    message = incoming(event)
    handled = bench.begin(message)
    await eventually(lambda: adapter.tries >= 2)
    message.draining.set()
    with pytest.raises(Draining):
        await handled
    assert (bench.ledger.claims[key(event)].outcome, adapter.lent) == (None, 0)


async def test_a_line_goes_back_when_the_wait_for_a_slot_is_left() -> None:
    adapter, link = Connecting(2), Link()
    adapter.gate.clear()
    bench = Bench(adapter, max_in_flight=1)
    first = bench.begin(incoming(a_dispatch()))
    await eventually(lambda: adapter.calls)
    second = bench.begin(incoming(a_dispatch(), link=link))
    await eventually(lambda: adapter.lent == 2)
    link.lose()
    with pytest.raises(Draining):
        await second
    assert adapter.lent == 1
    adapter.gate.set()
    assert await first == [ACK]


async def test_no_claim_is_written_for_an_event_in_flight() -> None:
    adapter, event = Answering(), a_dispatch()
    adapter.gate.clear()
    bench = Bench(adapter)
    handled = [bench.begin(incoming(event)) for _ in range(2)]
    await eventually(lambda: adapter.calls)
    adapter.gate.set()
    assert await asyncio.gather(*handled) == [[ACK], [ACK]]
    assert bench.ledger.claimed == [[key(event)]]


async def test_the_trace_of_a_delivery_holds_its_claim_its_call_and_the_storing_of_its_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans, "_tracer", provider.get_tracer("test"))
    adapter, event = Answering(), a_dispatch()
    adapter.outcome = PermanentFailure("no such address")
    event.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    bench = Bench(adapter)
    assert await bench.loop.handle(incoming(event)) == [ACK]
    made = {span.name: span for span in exporter.get_finished_spans()}
    assert {"claim attempts", "store outcomes"} < set(made)
    [call] = [span for span in made.values() if span.kind is SpanKind.CLIENT and "twin" in str(span.attributes)]
    assert call.status.status_code is StatusCode.ERROR
