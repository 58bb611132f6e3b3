"""The spans of a notification's way, carried from process to process inside its events.

An event's `traceparent` is the context of what caused it. Whoever takes the event opens a span below it and puts that
span's context into the event, so what follows from the event follows from the span: no context variable has to
survive a batch. An event whose trace is not sampled passes through all of this untouched, for the price of looking at
two characters.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.telemetry import attributes

MAX_LINKS: Final = 128  # the SDK drops what is beyond

_tracer = trace.get_tracer("wavecom")
_SAMPLED_FLAGS: Final = frozenset(f"{flags:02x}" for flags in range(1, 256, 2))


def sampled(event: Event) -> bool:
    """Whether the event belongs to a trace that is being recorded (bit 0 of the W3C trace flags)."""
    return event.traceparent[53:] in _SAMPLED_FLAGS


def context_of(event: Event) -> Context:
    """The trace context the event carries; an empty one when it carries none."""
    cause = cause_of(event)
    return trace.set_span_in_context(trace.NonRecordingSpan(cause), Context()) if cause.is_valid else Context()


def cause_of(event: Event) -> SpanContext:
    """The span that caused the event; an invalid one when it names none.

    Read here and not by the propagator, which takes four times as long: this runs for every sampled event at every hop,
    and what is in an event was written by `carry`. Source: https://www.w3.org/TR/trace-context/#traceparent-header
    """
    try:
        _, trace_id, span_id, flags = event.traceparent.split("-")
        return SpanContext(
            trace_id=int(trace_id, 16),
            span_id=int(span_id, 16),
            is_remote=True,
            trace_flags=TraceFlags(int(flags, 16)),
            trace_state=TraceState.from_header([event.tracestate]) if event.tracestate else None,
        )
    except ValueError:
        return trace.INVALID_SPAN_CONTEXT


def carry(span: Span, event: Event) -> None:
    """Make `span` the cause of what follows from `event`."""
    context = span.get_span_context()
    event.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    event.tracestate = context.trace_state.to_header() if context.trace_state else ""


def by_cause(events: Iterable[Event]) -> Sequence[Sequence[Event]]:
    """The sampled ones among events, those of one cause together.

    What one span caused is one step of its trace, however many notifications it is about: a hundred that were posted
    together would make a trace of two thousand spans that nobody reads.
    """
    groups: dict[str, list[Event]] = {}
    for event in events:
        if sampled(event):
            groups.setdefault(event.traceparent, []).append(event)
    return list(groups.values())


def start_publish(events: Sequence[Event], *, exchange: str, routing_key: str) -> Span:
    """A producer span below the cause of events; the caller ends it when the broker confirmed. See `by_cause`."""
    span = _tracer.start_span(
        f"publish {exchange}",
        context_of(events[0]),
        SpanKind.PRODUCER,
        {
            **_common(events),
            attributes.MESSAGING_SYSTEM: "rabbitmq",
            attributes.MESSAGING_OPERATION_NAME: "publish",
            attributes.MESSAGING_OPERATION_TYPE: "send",
            attributes.MESSAGING_DESTINATION_NAME: f"{exchange}:{routing_key}",
            attributes.MESSAGING_ROUTING_KEY: routing_key,
        },
    )
    _adopt(span, events)
    return span


def start_process(events: Sequence[Event], *, queue: str, message_id: str, batch_count: int) -> Span:
    """A consumer span below and linked to the publish span of events; the caller ends it. See `by_cause`."""
    cause = cause_of(events[0])
    common = _common(events)
    if batch_count > 1:
        common[attributes.MESSAGING_BATCH_COUNT] = batch_count
    span = _tracer.start_span(
        f"process {queue}",
        trace.set_span_in_context(trace.NonRecordingSpan(cause), Context()),
        SpanKind.CONSUMER,
        {
            **common,
            attributes.MESSAGING_SYSTEM: "rabbitmq",
            attributes.MESSAGING_OPERATION_NAME: "process",
            attributes.MESSAGING_OPERATION_TYPE: "process",
            attributes.MESSAGING_DESTINATION_NAME: queue,
            attributes.MESSAGING_MESSAGE_ID: message_id,
        },
        [Link(cause)],
    )
    _adopt(span, events)
    return span


@contextmanager
def provider_call(event: Event, provider: str) -> Iterator[Span]:
    """The span around one call of a provider, current meanwhile; one that records nothing for an unsampled event."""
    if not sampled(event):
        yield trace.INVALID_SPAN
        return
    attributes_ = {**_common([event]), attributes.PROVIDER: provider}
    with _tracer.start_as_current_span(f"deliver {provider}", context_of(event), SpanKind.CLIENT, attributes_) as span:
        yield span


@contextmanager
def batch_write(name: str, events: Sequence[Event]) -> Iterator[None]:
    """The span around a write for many events, current meanwhile, so that the database's spans are below it.

    When all sampled events belong to one trace it is a child there; else it is a trace of its own, linked to theirs.
    With no sampled event there is no span, and an unsampled context keeps the database's own from starting a trace.
    """
    groups = by_cause(events)
    if not groups:
        with trace.use_span(trace.NonRecordingSpan(_UNSAMPLED)):
            yield
        return
    causes = [cause_of(group[0]) for group in groups[:MAX_LINKS]]
    one_trace = len(groups) <= MAX_LINKS and len({cause.trace_id for cause in causes}) == 1
    with _tracer.start_as_current_span(
        name,
        context_of(groups[0][0]) if one_trace else Context(),
        SpanKind.INTERNAL,
        {attributes.EVENT_COUNT: len(events)},
        [Link(cause) for cause in causes],
    ):
        yield


def end(span: Span, error: BaseException | None = None) -> None:
    """End a span, as failed when there was an error. Only the error's type is told: its text may hold an address."""
    if error is not None:
        span.set_attribute(attributes.ERROR_TYPE, type(error).__qualname__)
        span.set_status(Status(StatusCode.ERROR))
    span.end()


_UNSAMPLED: Final = trace.SpanContext(trace_id=1, span_id=1, is_remote=False)


def _adopt(span: Span, events: Sequence[Event]) -> None:
    # Without a tracer provider in this process the span records nothing; then the events' own context stays.
    if span.is_recording():
        for event in events:
            carry(span, event)


def _common(events: Sequence[Event]) -> dict[str, str | int]:
    event = events[0]
    if len(events) > 1:
        return {attributes.EVENT_TYPE: event.type, attributes.EVENT_COUNT: len(events)}
    return {
        attributes.NOTIFICATION_ID: event.notification_id,
        attributes.EVENT_TYPE: event.type,
        attributes.CHANNEL: event.channel,
        attributes.PRIORITY: event.priority,
        attributes.ATTEMPT: event.attempt,
    }
