"""A real OTLP/gRPC receiver that keeps the spans it is sent."""

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span as it came; ids in hexadecimal, parent empty for a root.

    `text` is all of it, its events, links, status and resource included.
    """

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    links: Sequence[tuple[str, str]]
    attributes: dict[str, str]
    events: Sequence[str]
    is_error: bool
    text: str


class OtlpReceiver(TraceServiceServicer):
    """Listens on a free port of the loopback address; `endpoint` is what OTEL_EXPORTER_OTLP_ENDPOINT wants."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[ReceivedSpan] = []
        self._server = grpc.server(ThreadPoolExecutor(max_workers=4))
        add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]  # generated code
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    @property
    def spans(self) -> Sequence[ReceivedSpan]:
        """What came so far."""
        with self._lock:
            return list(self._spans)

    def stop(self) -> None:
        """End the server."""
        self._server.stop(grace=1).wait()

    def Export(self, request: ExportTraceServiceRequest, context: grpc.ServicerContext) -> ExportTraceServiceResponse:  # noqa: D102
        received = [
            ReceivedSpan(
                service=_attribute(resource.resource.attributes, "service.name"),
                name=span.name,
                kind=span.kind,
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
                parent_id=span.parent_span_id.hex(),
                links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                attributes={pair.key: _text(pair.value) for pair in span.attributes},
                events=[event.name for event in span.events],
                is_error=span.status.code == Status.STATUS_CODE_ERROR,
                text=f"{span}{resource.resource}{scope.scope}",
            )
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        with self._lock:
            self._spans += received
        return ExportTraceServiceResponse()


def _attribute(pairs: Iterable[KeyValue], key: str) -> str:
    return next((_text(pair.value) for pair in pairs if pair.key == key), "")


def _text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    return str(getattr(value, kind)) if kind else ""
