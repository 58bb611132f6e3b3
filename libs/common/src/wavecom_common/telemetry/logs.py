"""Structured logs: a fixed event name and fields, one JSON object a line on standard output.

No message bodies, no addresses, no secrets: log the notification id.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, cast

import orjson
import structlog
from opentelemetry import trace


def setup(service: str, level: str) -> None:
    """Route our own logs and those of libraries to standard output as JSON, from `level` (such as "info") upwards."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        _name_service(service),
        _add_trace,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(
                    serializer=lambda event, **_: orjson.dumps(event, default=str).decode()
                ),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # Libraries that tell of every reconnect, and of peers' addresses, below the level of a warning.
    for noisy in ("aio_pika", "pymongo", "motor", "uvicorn", "grpc"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Of a lost link it tells errors with tracebacks; we tell it ourselves, in a line.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    logging.captureWarnings(True)


def get_logger() -> structlog.stdlib.BoundLogger:
    """A logger; call it with an event name and fields."""
    return cast("structlog.stdlib.BoundLogger", structlog.get_logger())


def _name_service(service: str) -> structlog.types.Processor:
    def add(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    return add


def _add_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid and "trace_id" not in event:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event
