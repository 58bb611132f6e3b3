"""The database's commands in traces: only below a span that is being recorded, never as traces of their own."""

from typing import Final

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Tracer
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from wavecom_common.telemetry import attributes, spans
from wavecom_common.telemetry.tracing import wanted

_Key = tuple[int, tuple[str, int | None] | None]
_OTHER: Final = "_OTHER"


class CommandSpans(CommandListener):
    """A span per command, or an event in the span of the write it belongs to; see `spans.batch_write`.

    It holds names and no values: a statement holds message bodies and addresses, and the text of an error may quote
    them. The ready-made instrumentation puts that text on the span, and starts a trace for every ping.
    Source: https://opentelemetry.io/docs/specs/semconv/db/mongodb/
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open: dict[_Key, Span] = {}

    def started(self, event: CommandStartedEvent) -> None:
        """Open a span if the current one is being recorded."""
        current = trace.get_current_span()
        if not current.is_recording():
            return
        known = _described(event)
        name = " ".join(str(known[key]) for key in _NAMED_BY if key in known)
        if spans.in_batch_write():
            current.add_event(name, known)
        else:
            self._open[_key(event)] = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=known)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """End the command's span."""
        span = self._open.pop(_key(event), None)
        if span is not None:
            span.end()

    def failed(self, event: CommandFailedEvent) -> None:
        """End the command's span as failed, with the error's name."""
        span = self._open.pop(_key(event), None)
        if span is not None:
            spans.fail(span, str(event.failure.get("codeName", _OTHER)))
            span.end()


def command_listeners() -> list[CommandListener]:
    """What a client is made with for its commands to appear in traces; nothing when this process does not trace."""
    return [CommandSpans(trace.get_tracer("wavecom"))] if wanted() else []


_NAMED_BY: Final = (attributes.DB_OPERATION_NAME, attributes.DB_COLLECTION_NAME)


def _described(event: CommandStartedEvent) -> dict[str, str | int]:
    known: dict[str, str | int] = {
        attributes.DB_SYSTEM_NAME: "mongodb",
        attributes.DB_NAMESPACE: event.database_name,
        attributes.DB_OPERATION_NAME: event.command_name,
    }
    # The first field of a command names its collection, where it is about one.
    collection = event.command.get(event.command_name)
    if isinstance(collection, str):
        known[attributes.DB_COLLECTION_NAME] = collection
    host, port = event.connection_id
    known[attributes.SERVER_ADDRESS] = host
    if port is not None:
        known[attributes.SERVER_PORT] = port
    return known


def _key(event: CommandStartedEvent | CommandSucceededEvent | CommandFailedEvent) -> _Key:
    return event.request_id, event.connection_id
