"""What stands in an event about its trace is what the standard propagator would write and read."""

from collections.abc import Callable

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from wavecom_common.events import types
from wavecom_common.events.outcomes import (
    Delivered,
    DeliveryOutcome,
    PermanentFailure,
    Throttled,
    TransientFailure,
    UnknownOutcome,
)
from wavecom_common.telemetry import spans
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_proto.v1.events_pb2 import Event

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"


@pytest.mark.parametrize("state", [None, TraceState([("vendor", "1"), ("other", "2")])])
def test_a_context_is_carried_as_the_propagator_carries_it(state: TraceState | None) -> None:
    context = SpanContext(trace_id=2**127 + 1, span_id=7, is_remote=False, trace_flags=TraceFlags(1), trace_state=state)
    span, event = trace.NonRecordingSpan(context), a_request()
    spans.carry(span, event)
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(span, Context()))
    assert {"traceparent": event.traceparent, "tracestate": event.tracestate} == {"tracestate": "", **carrier}
    found = spans.cause_of(event)
    assert (found.trace_id, found.span_id, found.trace_flags) == (context.trace_id, context.span_id, 1)
    assert found.trace_state == context.trace_state
    assert found.is_remote


@pytest.mark.parametrize(("flags", "recorded"), [("01", True), ("03", True), ("00", False), ("02", False)])
def test_an_event_is_sampled_when_the_first_bit_of_its_flags_is_set(flags: str, recorded: bool) -> None:
    event = a_request()
    event.traceparent = TRACE + flags
    assert spans.sampled(event) is recorded


@pytest.mark.parametrize("traceparent", ["", "x", TRACE, TRACE + "zz", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_an_event_that_names_no_cause_begins_a_trace_of_its_own(traceparent: str) -> None:
    event = a_request()
    event.traceparent = traceparent
    spans.sampled(event)
    span = TracerProvider().get_tracer("test").start_span("x", spans.context_of(event))
    assert span.get_span_context().is_valid
    assert getattr(span, "parent", None) is None


def test_a_tracestate_that_is_too_long_for_an_event_is_left_out() -> None:
    state = TraceState([(f"vendor{number}", "x" * 200) for number in range(3)])
    context = SpanContext(trace_id=1, span_id=7, is_remote=False, trace_flags=TraceFlags(1), trace_state=state)
    event = a_request()
    spans.carry(trace.NonRecordingSpan(context), event)
    assert event.tracestate == ""
    event.tracestate = state.to_header()
    assert not spans.cause_of(event).trace_state


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[ReadableSpan]]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans, "_tracer", provider.get_tracer("test"))
    return lambda: list(exporter.get_finished_spans())


def caused_by(event: Event, trace_id: int, span_id: int, flags: int = 1) -> Event:
    event.traceparent = f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"
    return event


def test_a_batch_is_processed_once_in_each_of_its_traces(exported: Callable[[], list[ReadableSpan]]) -> None:
    events = [
        caused_by(a_request(), 1, 11),
        caused_by(a_request(), 2, 21),
        caused_by(a_request(), 1, 12),
        caused_by(a_request(), 1, 11),
        caused_by(a_request(), 3, 31, flags=0),
    ]
    with spans.process_batch("the.queue", events):
        assert spans.in_batch_write()

    assert not spans.in_batch_write()
    first, second = exported()
    for span, causes in ((first, [11, 12]), (second, [21])):
        assert (span.name, span.kind) == ("process the.queue", SpanKind.CONSUMER)
        assert span.parent.span_id == causes[0]
        assert [link.context.span_id for link in span.links] == causes
    assert (first.context.trace_id, second.context.trace_id) == (1, 2)
    assert first.attributes["wavecom.event.count"] == 3
    assert second.attributes["wavecom.notification.id"] == events[1].notification_id


def test_a_batch_that_fails_is_an_error_in_each_of_its_traces(exported: Callable[[], list[ReadableSpan]]) -> None:
    events = [caused_by(a_request(), number, 1) for number in (1, 2)]
    with pytest.raises(KeyError), spans.process_batch("the.queue", events):
        raise KeyError
    assert [(span.status.status_code, span.attributes["error.type"]) for span in exported()] == [
        (StatusCode.ERROR, "KeyError")
    ] * 2


def test_a_batch_without_a_sampled_event_has_no_span_and_hides_that_of_its_surroundings(
    exported: Callable[[], list[ReadableSpan]],
) -> None:
    with spans._tracer.start_as_current_span("surroundings"), spans.batch_write("write", [a_request()]):
        assert not trace.get_current_span().is_recording()
    assert [span.name for span in exported()] == ["surroundings"]


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Delivered(), None),
        (TransientFailure("x"), "TransientFailure"),
        (PermanentFailure("x"), "PermanentFailure"),
        (Throttled("x", 1.0), "Throttled"),
        (UnknownOutcome("x"), "UnknownOutcome"),
    ],
)
def test_a_provider_call_is_an_error_unless_the_provider_took_it(
    exported: Callable[[], list[ReadableSpan]], outcome: DeliveryOutcome, error: str | None
) -> None:
    with spans.provider_call(caused_by(a_dispatch(), 1, 1), "provider") as span:
        spans.note_outcome(span, outcome)
    [call] = exported()
    assert call.attributes["wavecom.outcome"] == type(outcome).__name__
    assert call.attributes.get("error.type") == error
    assert call.status.status_code is (StatusCode.ERROR if error else StatusCode.UNSET)
    assert call.status.description is None


def test_publishing_that_a_notification_failed_is_an_error_by_its_reason(
    exported: Callable[[], list[ReadableSpan]],
) -> None:
    cause = caused_by(a_dispatch(), 1, 1)
    for event in (
        types.failed(cause, error="user@example.com is unknown", reason=types.EXHAUSTED, now_ms=1),
        types.outcome_unknown(cause, action="resend", now_ms=1),
        types.sent(cause, provider="x", provider_message_id="x", now_ms=1),
        types.started(cause, provider="x", now_ms=1),
    ):
        for span in spans.start_publishes("exchange", "key", [event]):
            spans.end(span)
    assert [(span.attributes["wavecom.event.type"], span.attributes.get("error.type")) for span in exported()] == [
        (types.FAILED, "exhausted"),
        (types.OUTCOME_UNKNOWN, "outcome_unknown"),
        (types.SENT, None),
    ]
    assert "example.com" not in "".join(span.to_json() for span in exported())
