"""The database's commands appear in traces that are recorded, and start none."""

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from wavecom_common.storage.tracing import command_tracer


@pytest.mark.connected
async def test_a_command_has_a_span_only_below_one_that_is_recorded(mongodb_url: str, database_name: str) -> None:
    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    tracer = provider.get_tracer("test")
    client = AsyncIOMotorClient(mongodb_url, event_listeners=[command_tracer(tracer)])
    things = client[database_name]["things"]

    await things.insert_one({"secret": 1})
    with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(trace_id=1, span_id=1, is_remote=False))):
        await things.insert_one({"secret": 2})
    with tracer.start_as_current_span("write") as parent:
        await things.insert_one({"secret": 3})
    client.close()

    command, write = exported.get_finished_spans()
    assert write.name == "write"
    assert command.name == f"{database_name}.insert"
    assert command.parent is not None
    assert command.parent.span_id == parent.get_span_context().span_id
    assert "secret" not in str(dict(command.attributes or {}))
