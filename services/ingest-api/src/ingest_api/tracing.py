"""The server span of every request. Used only when the process traces."""

from collections.abc import Collection
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Tracer
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from wavecom_common.telemetry import attributes, spans

# Source: RFC 9110, section 9, and RFC 5789. Any other word is the caller's own, and stays out of the span.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_OTHER: Final = "_OTHER"
_tracer = trace.get_tracer("wavecom")


class ServerSpans:
    """A span around each request, named by its method and the template of its route.

    Of what the client sent, only the method and the trace id are kept: a path, a query, a header may hold an address.
    So there is no `url.path` although the conventions ask for one; a path that matches no route leaves nothing.
    The ready-made instrumentation records all of these, and takes about 100 µs a request that is not sampled, more than
    all else the POST costs us; this one takes about 5.
    Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/
    """

    def __init__(self, app: ASGIApp, *, paths: Collection[str], tracer: Tracer = _tracer) -> None:
        """`paths` are the routes without a parameter; that of another is what the router put into the scope."""
        self._app = app
        self._paths = frozenset(paths)
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, below a span of its own."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        span = self._start(scope)
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            await self._app(scope, receive, _noting_answer(scope, send, span) if span.is_recording() else send)

    def _start(self, scope: Scope) -> Span:
        method, path = scope["method"], scope["path"]
        known: dict[str, str] = {
            attributes.HTTP_REQUEST_METHOD: method if method in _METHODS else _OTHER,
            attributes.URL_SCHEME: scope["scheme"],
        }
        if path in self._paths:
            known[attributes.HTTP_ROUTE] = path
        return self._tracer.start_span(
            _name(scope, known.get(attributes.HTTP_ROUTE)), _caller(scope), SpanKind.SERVER, known
        )


def _name(scope: Scope, route: str | None) -> str:
    method = scope["method"] if scope["method"] in _METHODS else "HTTP"
    return f"{method} {route}" if route else method


def _caller(scope: Scope) -> Context:
    for name, value in scope["headers"]:
        if name == b"traceparent":
            return spans.context_from(value.decode("latin-1"))
    return Context()


def _noting_answer(scope: Scope, send: Send, span: Span) -> Send:
    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            route = getattr(scope.get("route"), "path", None)
            if route is not None:
                span.update_name(_name(scope, route))
                span.set_attribute(attributes.HTTP_ROUTE, route)
            status_code: int = message["status"]
            span.set_attribute(attributes.HTTP_RESPONSE_STATUS_CODE, status_code)
            if status_code >= 500:
                spans.fail(span, str(status_code))
        await send(message)

    return noting
