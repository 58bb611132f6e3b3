"""The database's commands appear in traces that are recorded, and start none."""

from collections.abc import Iterator

import pytest
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from pymongo.errors import OperationFailure
from wavecom_common.storage.tracing import CommandSpans
from wavecom_common.telemetry import spans
from wavecom_common.testing.builders import a_request

pytestmark = pytest.mark.connected

SECRET = "never-in-a-span"


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exported: InMemorySpanExporter) -> Tracer:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return provider.get_tracer("test")


@pytest.fixture
def things(mongodb_url: str, database_name: str, tracer: Tracer) -> Iterator[AsyncIOMotorCollection]:
    client = AsyncIOMotorClient(mongodb_url, event_listeners=[CommandSpans(tracer)])
    yield client[database_name]["things"]
    client.close()


async def test_a_command_has_a_span_only_below_one_that_is_recorded(
    things: AsyncIOMotorCollection, tracer: Tracer, exported: InMemorySpanExporter
) -> None:
    await things.insert_one({"text": SECRET})
    with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(trace_id=1, span_id=1, is_remote=False))):
        await things.insert_one({"text": SECRET})
    with tracer.start_as_current_span("write") as parent:
        await things.insert_one({"text": SECRET})

    command, write = exported.get_finished_spans()
    assert write.name == "write"
    assert (command.name, command.kind) == ("insert things", SpanKind.CLIENT)
    assert command.parent is not None
    assert command.parent.span_id == parent.get_span_context().span_id
    known = dict(command.attributes or {})
    assert known.pop("server.port") > 0
    assert known == {
        "db.system.name": "mongodb",
        "db.namespace": things.database.name,
        "db.collection.name": "things",
        "db.operation.name": "insert",
        "server.address": "127.0.0.1",
    }
    assert SECRET not in command.to_json()


async def test_a_command_that_failed_is_an_error_by_its_name_and_without_its_text(
    things: AsyncIOMotorCollection, tracer: Tracer, exported: InMemorySpanExporter
) -> None:
    with tracer.start_as_current_span("ask"), pytest.raises(OperationFailure, match=SECRET):
        await things.find_one({"$where": f"throw '{SECRET}'", "text": {f"${SECRET}": 1}})

    command = next(span for span in exported.get_finished_spans() if span.name == "find things")
    assert command.status.status_code is StatusCode.ERROR
    assert (command.attributes or {})["error.type"] == "BadValue"
    assert SECRET not in command.to_json()


async def test_the_commands_of_a_batch_are_events_of_the_one_span_of_the_batch(
    things: AsyncIOMotorCollection, tracer: Tracer, exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "_tracer", tracer)
    event = a_request()
    event.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with spans.batch_write("write things", [event, a_request()]):
        await things.insert_many([{"text": SECRET}, {"text": SECRET}])
        await things.find_one({"text": SECRET})

    [write] = exported.get_finished_spans()
    assert (write.name, write.kind) == ("write things", SpanKind.CLIENT)
    assert [one.name for one in write.events] == ["insert things", "find things"]
    assert SECRET not in write.to_json()
