"""What stands in an event about its trace is what the standard propagator would write and read."""

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanContext, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from wavecom_common.telemetry import spans
from wavecom_common.testing.builders import a_request

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
