"""The spans of a notification's way, carried from process to process inside its events.

An event's `traceparent` is the context of what caused it. Whoever takes the event opens a span below it and puts that
span's context into the event, so what follows from the event follows from the span: no context variable has to
survive a batch. An event whose trace is not sampled passes through all of this untouched, for the price of looking at
two characters.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import types
from wavecom_common.events.outcomes import Delivered, DeliveryOutcome
from wavecom_common.telemetry import attributes

MAX_LINKS: Final = 128  # the SDK drops what is beyond
# Of the tracestate an event keeps: an event is stored for ever, so nothing longer is copied into it.
MAX_TRACESTATE_BYTES: Final = 512

_tracer = trace.get_tracer("wavecom")
_SAMPLED_FLAGS: Final = frozenset(f"{flags:02x}" for flags in range(1, 256, 2))


def sampled(event: Event) -> bool:
    """Whether the event belongs to a trace that is being recorded (bit 0 of the W3C trace flags)."""
    return event.traceparent[53:] in _SAMPLED_FLAGS


def context_of(event: Event) -> Context:
    """The trace context the event carries; an empty one when it carries none."""
    return _below(cause_of(event))


def context_from(traceparent: str) -> Context:
    """The context that a caller's `traceparent` header names; an empty one when it names none.

    The caller's `tracestate` is not asked for: it is up to 8 KB of anything, and would be copied into every event.
    """
    return _below(_span_context(traceparent, ""))


def cause_of(event: Event) -> SpanContext:
    """The span that caused the event; an invalid one when it names none."""
    return _span_context(event.traceparent, event.tracestate)


def carry(span: Span, event: Event) -> None:
    """Make `span` the cause of what follows from `event`."""
    context = span.get_span_context()
    event.traceparent = traceparent_of(context)
    state = context.trace_state.to_header() if context.trace_state else ""
    event.tracestate = state if len(state) <= MAX_TRACESTATE_BYTES else ""


def traceparent_of(context: SpanContext) -> str:
    """The W3C `traceparent` header that names a span."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


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


def by_trace(events: Iterable[Event]) -> Sequence[Sequence[Event]]:
    """The sampled ones among events, those of one trace together."""
    groups: dict[str, list[Event]] = {}
    for event in events:
        if sampled(event):
            groups.setdefault(event.traceparent[3:35], []).append(event)
    return list(groups.values())


def start_publishes(exchange: str, routing_key: str, events: Sequence[Event]) -> Sequence[Span]:
    """The producer spans of events of one routing key; the caller ends them when the broker confirmed. See `by_cause`.

    None for the start of a provider call: nothing waits for that, and the call has a span of its own.
    """
    if events[0].type == types.STARTED:
        return []
    return [_start_publish(exchange, routing_key, group) for group in by_cause(events)]


def _start_publish(exchange: str, routing_key: str, events: Sequence[Event]) -> Span:
    """A producer span below the cause of events.

    Where the events say that a notification failed, or that nobody knows whether a call took effect, the span is an
    error: each of them is published once, by whichever process, so a search for errors finds every one.
    """
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
    if (error := _error_in(events[0])) is not None:
        fail(span, error)
    _adopt(span, events)
    return span


def start_process(events: Sequence[Event], *, queue: str, message_id: str, batch_count: int) -> Span:
    """A consumer span below and linked to the publish span of events; the caller ends it. See `by_cause`."""
    cause = cause_of(events[0])
    known = _process(events, queue) | {attributes.MESSAGING_MESSAGE_ID: message_id}
    if batch_count > 1:
        known[attributes.MESSAGING_BATCH_COUNT] = batch_count
    span = _tracer.start_span(f"process {queue}", _below(cause), SpanKind.CONSUMER, known, [Link(cause)])
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


def note_outcome(span: Span, outcome: DeliveryOutcome) -> None:
    """How the provider call of this span ended: an error, unless the provider took it."""
    kind = type(outcome).__name__
    span.set_attribute(attributes.OUTCOME, kind)
    if not isinstance(outcome, Delivered):
        fail(span, kind)


def process_batch(queue: str, events: Sequence[Event]) -> AbstractContextManager[None]:
    """The consumer spans around events of many messages that are handled, and written, together; see `batch_write`.

    So what a notification costs here is bounded by the batches it is in, not by its events.
    """
    return _batch(f"process {queue}", SpanKind.CONSUMER, events, lambda group: _process(group, queue))


def batch_write(name: str, events: Sequence[Event]) -> AbstractContextManager[None]:
    """The spans around a write to the database for many events: one in each of their traces, all of the same time.

    Each is below the first cause in its trace and linked to all of them. The first is current meanwhile, and the
    database's commands are events in it (see `in_batch_write`): one write is one span, however many commands it takes.
    With no sampled event there is no span, and an unsampled context keeps the database's own from appearing in
    whatever trace the task was started in.
    """
    return _batch(name, SpanKind.CLIENT, events, _common)


def in_batch_write() -> bool:
    """Whether the current span is that of a `batch_write`."""
    return contexts.get_value(_IN_BATCH_WRITE) is True


def fail(span: Span, error_type: str) -> None:
    """Mark a span as an error of a kind: a word of few values, never an error's text, which may hold an address."""
    span.set_attribute(attributes.ERROR_TYPE, error_type)
    span.set_status(Status(StatusCode.ERROR))


def end(span: Span, error: BaseException | None = None) -> None:
    """End a span, as failed when there was an error."""
    if error is not None:
        fail(span, type(error).__qualname__)
    span.end()


_UNSAMPLED: Final = trace.SpanContext(trace_id=1, span_id=1, is_remote=False)
_IN_BATCH_WRITE: Final = contexts.create_key("wavecom-batch-write")


def _span_context(traceparent: str, tracestate: str) -> SpanContext:
    """Read here and not by the propagator, which takes four times as long: this runs for every sampled event and hop.

    Source: https://www.w3.org/TR/trace-context/#traceparent-header
    """
    try:
        _, trace_id, span_id, flags = traceparent.split("-")
        return SpanContext(
            trace_id=int(trace_id, 16),
            span_id=int(span_id, 16),
            is_remote=True,
            trace_flags=TraceFlags(int(flags, 16)),
            trace_state=TraceState.from_header([tracestate]) if 0 < len(tracestate) <= MAX_TRACESTATE_BYTES else None,
        )
    except ValueError:
        return trace.INVALID_SPAN_CONTEXT


def _below(cause: SpanContext) -> Context:
    return trace.set_span_in_context(trace.NonRecordingSpan(cause), Context()) if cause.is_valid else Context()


@contextmanager
def _batch(
    name: str, kind: SpanKind, events: Sequence[Event], described: Callable[[Sequence[Event]], dict[str, str | int]]
) -> Iterator[None]:
    opened = [
        _start_in_trace(name, kind, described(group) | {attributes.DB_SYSTEM_NAME: "mongodb"}, group)
        for group in by_trace(events)
    ]
    current = opened[0] if opened else trace.NonRecordingSpan(_UNSAMPLED)
    token = contexts.attach(trace.set_span_in_context(current, contexts.set_value(_IN_BATCH_WRITE, True)))
    failure: BaseException | None = None
    try:
        yield
    except BaseException as error:
        failure = error
        raise
    finally:
        contexts.detach(token)
        for span in opened:
            end(span, failure)


def _start_in_trace(name: str, kind: SpanKind, known: dict[str, str | int], events: Sequence[Event]) -> Span:
    """A span below the first cause of events of one trace, linked to all their causes."""
    causes = {event.traceparent: event for event in events}
    links = [Link(cause_of(event)) for event in islice(causes.values(), MAX_LINKS)]
    return _tracer.start_span(name, context_of(events[0]), kind, known, links)


def _error_in(event: Event) -> str | None:
    if event.type == types.FAILED:
        return event.failed.reason
    return types.UNKNOWN if event.type == types.OUTCOME_UNKNOWN else None


def _process(events: Sequence[Event], queue: str) -> dict[str, str | int]:
    return _common(events) | {
        attributes.MESSAGING_SYSTEM: "rabbitmq",
        attributes.MESSAGING_OPERATION_NAME: "process",
        attributes.MESSAGING_OPERATION_TYPE: "process",
        attributes.MESSAGING_DESTINATION_NAME: queue,
    }


def _adopt(span: Span, events: Sequence[Event]) -> None:
    # Without a tracer provider in this process the span records nothing; then the events' own context stays.
    if span.is_recording():
        for event in events:
            carry(span, event)


def _common(events: Sequence[Event]) -> dict[str, str | int]:
    event = events[0]
    if len(events) > 1:
        known: dict[str, str | int] = {attributes.EVENT_COUNT: len(events)}
        if all(other.type == event.type for other in events):
            known[attributes.EVENT_TYPE] = event.type
        return known
    return {
        attributes.NOTIFICATION_ID: event.notification_id,
        attributes.EVENT_TYPE: event.type,
        attributes.CHANNEL: event.channel,
        attributes.PRIORITY: event.priority,
        attributes.ATTEMPT: event.attempt,
    }
