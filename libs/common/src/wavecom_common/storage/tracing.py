"""The database's spans: only below a span that is being recorded, never as traces of their own."""

from typing import cast

from opentelemetry import trace
from opentelemetry.instrumentation.pymongo import CommandTracer
from opentelemetry.trace import Tracer
from pymongo.monitoring import CommandListener, CommandStartedEvent

from wavecom_common.telemetry.tracing import wanted


class _BelowRecordedSpans(CommandTracer):
    """The ready-made tracer would start a trace for every ping and every batch that nobody traces."""

    def started(self, event: CommandStartedEvent) -> None:
        """Open a span if the current one is being recorded."""
        if trace.get_current_span().is_recording():
            super().started(event)


def command_tracer(tracer: Tracer) -> CommandListener:
    """A span per command, without its statement, which would hold message bodies and addresses."""
    return cast("CommandListener", _BelowRecordedSpans(tracer, capture_statement=False))


def command_listeners() -> list[CommandListener]:
    """What a client is made with for its commands to appear in traces; nothing when this process does not trace."""
    return [command_tracer(trace.get_tracer("wavecom"))] if wanted() else []
