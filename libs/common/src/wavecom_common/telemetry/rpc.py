"""The spans of gRPC calls, on both sides. Used only when the process traces.

They hold the method and the status, and nothing of the request, its metadata or its peer: the ready-made
instrumentation records the peer's address, its user agent, and the text of an error.
Source: https://opentelemetry.io/docs/specs/semconv/rpc/grpc/
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import grpc
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Tracer

from wavecom_common.telemetry import attributes, spans

_TRACEPARENT: Final = "traceparent"
# An answer, and no error of the call.
_ANSWERS: Final = frozenset({grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND})
# What is the server's fault, and not that of its caller.
_SERVER_ERRORS: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_tracer = trace.get_tracer("wavecom")

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


class ClientSpans(grpc.aio.UnaryUnaryClientInterceptor):
    """A span around each call, below the current one, whose context the call takes along."""

    def __init__(self, tracer: Tracer = _tracer) -> None:
        self._tracer = tracer

    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        """Make the call. One that is not sampled says so, or the other side would decide for itself."""
        details = client_call_details
        span = _start(self._tracer, details.method, SpanKind.CLIENT, None)
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        metadata[_TRACEPARENT] = spans.traceparent_of(span.get_span_context())
        sent = grpc.aio.ClientCallDetails(
            details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
        )
        try:
            call = await continuation(sent, request)
            code = await call.code()
        except BaseException as error:
            spans.end(span, error)
            raise
        _end(span, code, is_error=code not in _ANSWERS)
        return call


class ServerSpans(grpc.aio.ServerInterceptor):
    """A span around each unary call of a method there is, below its caller's; none around gRPC's own services."""

    def __init__(self, tracer: Tracer = _tracer) -> None:
        self._tracer = tracer

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "_Handler":
        """The method's handler, with a span around it."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or handler.unary_unary is None or method.startswith("/grpc."):
            return handler
        answer: Callable[..., Awaitable[Any]] = handler.unary_unary
        caller = _caller(handler_call_details)

        async def traced(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            span = _start(self._tracer, method, SpanKind.SERVER, caller)
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                code = grpc.StatusCode.UNKNOWN
                try:
                    reply = await answer(request, context)
                    code = grpc.StatusCode.OK
                except grpc.aio.AbortError:
                    code = context.code()
                    raise
                finally:
                    _end(span, code, is_error=code in _SERVER_ERRORS)
            return reply

        return grpc.unary_unary_rpc_method_handler(
            traced,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def _caller(details: grpc.HandlerCallDetails) -> Context:
    for name, value in details.invocation_metadata or ():
        if name == _TRACEPARENT:
            return spans.context_from(value if isinstance(value, str) else value.decode("latin-1"))
    return Context()


def _start(tracer: Tracer, method: str | bytes, kind: SpanKind, context: Context | None) -> Span:
    name = (method.decode() if isinstance(method, bytes) else method).removeprefix("/")
    known = {attributes.RPC_SYSTEM_NAME: "grpc", attributes.RPC_METHOD: name}
    return tracer.start_span(name, context, kind, known)


def _end(span: Span, code: grpc.StatusCode, *, is_error: bool) -> None:
    span.set_attribute(attributes.RPC_RESPONSE_STATUS_CODE, code.name)
    if is_error:
        spans.fail(span, code.name)
    span.end()
