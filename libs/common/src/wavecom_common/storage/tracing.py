"""The database's spans: only below a span that is being recorded, never as traces of their own."""

from typing import cast

from opentelemetry import trace
from opentelemetry.instrumentation.pymongo import CommandTracer
from pymongo.monitoring import CommandListener, CommandStartedEvent

from wavecom_common.telemetry.tracing import wanted


class _BelowRecordedSpans(CommandTracer):
    """Without statements: they hold message bodies and addresses."""

    def __init__(self) -> None:
        super().__init__(trace.get_tracer("wavecom"), capture_statement=False)

    def started(self, event: CommandStartedEvent) -> None:
        """Open a span if the current one is being recorded."""
        if trace.get_current_span().is_recording():
            super().started(event)


def command_listeners() -> list[CommandListener]:
    """What a client is made with for its commands to appear in traces; nothing when this process does not trace."""
    return [cast("CommandListener", _BelowRecordedSpans())] if wanted() else []
