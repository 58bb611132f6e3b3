"""The spans of a gRPC call, over a real connection."""

from collections.abc import AsyncIterator, Sequence

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from wavecom_common.telemetry.rpc import ClientSpans, ServerSpans
from wavecom_proto.v1.status_pb2 import GetNotificationRequest, Notification
from wavecom_proto.v1.status_pb2_grpc import StatusQueryServicer, StatusQueryStub, add_StatusQueryServicer_to_server

METHOD = "wavecom.v1.StatusQuery/GetNotification"
SECRET = "never-in-a-span"


class Answers(StatusQueryServicer):
    """Aborts with the status that is asked for by its name."""

    async def GetNotification(self, request: GetNotificationRequest, context: grpc.aio.ServicerContext) -> Notification:
        if request.id == "BUG":
            raise RuntimeError(SECRET)
        if request.id != "OK":
            await context.abort(grpc.StatusCode[request.id], SECRET)
        return Notification(id=f"{trace.get_current_span().get_span_context().trace_id:032x}")


class Traced:
    """A server and a client, each with a tracer, and what both exported."""

    def __init__(self, stub: StatusQueryStub, client: Tracer, exported: InMemorySpanExporter) -> None:
        self.stub, self.client, self._exported = stub, client, exported

    def spans(self) -> Sequence[ReadableSpan]:
        """The server's and the client's, in the order they ended."""
        return [span for span in self._exported.get_finished_spans() if span.kind is not SpanKind.INTERNAL]


@pytest.fixture
async def traced() -> AsyncIterator[Traced]:
    exported = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(ALWAYS_ON))
    provider.add_span_processor(SimpleSpanProcessor(exported))
    tracer = provider.get_tracer("test")
    server = grpc.aio.server(interceptors=[ServerSpans(tracer)])
    add_StatusQueryServicer_to_server(Answers(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=[ClientSpans(tracer)]) as channel:
        yield Traced(StatusQueryStub(channel), tracer, exported)
    await server.stop(None)


async def test_a_call_is_a_client_span_and_a_server_span_below_it(traced: Traced) -> None:
    metadata = grpc.aio.Metadata(("tracestate", f"vendor={SECRET}"), ("user-agent-of-mine", SECRET))
    with traced.client.start_as_current_span("asking") as asking:
        await traced.stub.GetNotification(GetNotificationRequest(id="OK", tenant=SECRET), metadata=metadata)

    server, client = traced.spans()
    assert [(span.name, span.kind) for span in (server, client)] == [
        (METHOD, SpanKind.SERVER),
        (METHOD, SpanKind.CLIENT),
    ]
    assert server.parent is not None
    assert server.parent.span_id == client.context.span_id
    assert client.parent is not None
    assert client.parent.span_id == asking.get_span_context().span_id
    assert not server.context.trace_state
    expected = {"rpc.system.name": "grpc", "rpc.method": METHOD, "rpc.response.status_code": "OK"}
    assert [dict(span.attributes or {}) for span in (server, client)] == [expected, expected]


@pytest.mark.parametrize(
    ("asked", "code", "server_fails", "client_fails"),
    [
        ("NOT_FOUND", "NOT_FOUND", False, False),
        ("INVALID_ARGUMENT", "INVALID_ARGUMENT", False, True),
        ("UNAVAILABLE", "UNAVAILABLE", True, True),
        ("BUG", "UNKNOWN", True, True),
    ],
)
async def test_a_failed_call_is_an_error_by_its_status_and_without_its_text(
    traced: Traced, asked: str, code: str, server_fails: bool, client_fails: bool
) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await traced.stub.GetNotification(GetNotificationRequest(id=asked))

    server, client = traced.spans()
    for span, fails in ((server, server_fails), (client, client_fails)):
        assert (span.attributes or {})["rpc.response.status_code"] == code
        assert (span.attributes or {}).get("error.type") == (code if fails else None)
        assert span.status.status_code is (StatusCode.ERROR if fails else StatusCode.UNSET)
        assert SECRET not in span.to_json()


async def test_what_is_not_sampled_here_is_not_sampled_there(traced: Traced) -> None:
    unsampled = TracerProvider(sampler=ALWAYS_OFF).get_tracer("test").start_span("asking")
    with trace.use_span(unsampled):
        answer = await traced.stub.GetNotification(GetNotificationRequest(id="OK"))

    assert traced.spans() == []
    assert answer.id == f"{unsampled.get_span_context().trace_id:032x}"
