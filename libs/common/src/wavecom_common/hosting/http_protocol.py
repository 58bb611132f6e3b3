"""One connection of an HTTP server: uvicorn's protocol, with limits to what its client can make it hold."""

from asyncio import TimerHandle, Transport
from collections.abc import Callable, Sized
from typing import Any, Final, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from wavecom_common.hosting.http_limits import Connections
from wavecom_common.telemetry.logs import get_logger

_CLOSE: Final = b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large" + _CLOSE
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout" + _CLOSE
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1" + _CLOSE
# Their bodies have no meaning (RFC 9110, sections 9.3.1 and 9.3.2): they are not read, so they are not kept.
_BODILESS: Final = frozenset({"GET", "HEAD"})

# A small request with all that is made to answer it, beside the bytes it came in.
_QUEUED_BYTES: Final = 3_000

_log = get_logger()


class BoundedProtocol(HttpToolsProtocol):
    """A connection waits for its client, or works on a complete request; in between it is bounded in time and size."""

    def __init__(self, connections: Connections, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections = connections
        self._limits = connections.limits
        self._timer: TimerHandle | None = None
        self._unread_timer: TimerHandle | None = None
        # Since the parser last came to the end of something: what it may have to keep.
        self._unparsed_bytes = 0
        self._in_head = False
        self._holds_head = False
        # Of a body whose answer is complete.
        self._dropped_bytes = 0
        self._hung_up = False
        self._stops = False
        self._refusal: bytes | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Take it in, if there is room."""
        super().connection_made(transport)
        self.flow = _ReadingNoFurther(transport, self.pipeline)
        if self._connections.opened(self):
            self._arm(self._limits.head_s, self._head_is_late)
        else:
            self._end_with(_FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        self._connections.closed(self)
        self._disarm()
        self._stop_unread_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse it, and look what is left unfinished."""
        if self._hung_up:
            self._drop(len(data))
            return
        self._unparsed_bytes += len(data)
        kept_bytes = self._unparsed_bytes
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head or self._unparsed_bytes:
            self._unfinished(len(data))
        if self.pipeline:
            # Nothing more is read before all of them are begun.
            self._connections.hold_queue(self, kept_bytes + _QUEUED_BYTES * len(self.pipeline))
        cycle = self.cycle
        if cycle is not None and cycle.more_body and cycle.transport is self.transport:
            # Its answer may come before its end. The cycle runs from the next turn of the loop on.
            cycle.transport = cast(Transport, _ReadingOn(self))

    def on_message_begin(self) -> None:
        """A head begins."""
        if len(self.pipeline) >= self._limits.pipelined:
            self._refuse(b"", "pipelined")
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is complete."""
        if self._unparsed_bytes > self._limits.head_bytes or len(self.headers) > self._limits.headers:
            self._check_head()
        self._in_head = False
        self._unparsed_bytes = 0
        if self._timer is not None:
            self._disarm()
        if self._holds_head:
            self._holds_head = False
            self._connections.hold_head(self, 0)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body: kept only as far as it will be read."""
        self._unparsed_bytes = 0
        if self.cycle.response_complete:
            self._drop(len(body))
        elif self.scope["method"] not in _BODILESS:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._unparsed_bytes = 0
        if self.cycle.response_complete:
            self._disarm()
            self._dropped_bytes = 0
        else:
            self._connections.works(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is on its way; what its client still sends of the request is dropped."""
        has_next = bool(self.pipeline)
        super().on_response_complete()
        if has_next:
            self._next_begins()
            return
        # The cycle stays as long as the connection, and nobody reads on.
        self.cycle.body = bytearray()
        if self.transport.is_closing():
            return
        self._connections.waits(self)
        if self.cycle.more_body and not self._hung_up:
            if self.expect_100_continue:
                # Having an answer, it sends the body or its next request: which one cannot be seen.
                self.close_after_body()
            else:
                self._arm(self._limits.read_on_s, self._body_is_late)

    def close_after_body(self) -> None:
        """Close, once the client has had the chance to read its answer: closing at once would reset what it sends."""
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._hang_up(self._limits.stop_s if self._stops else self._limits.read_on_s)
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or what a callback refused."""
        if self._refusal is None:
            super().send_400_response(msg)
        else:
            self._end_with(self._refusal)

    def pause_writing(self) -> None:
        """The client has not read so much of its answers that more is not written."""
        super().pause_writing()
        self._unread_timer = self.loop.call_later(self._limits.unread_s, self.give_way, "unread_answer")
        self._connections.hold_answer(self, self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """It has."""
        self._stop_unread_timer()
        self._connections.hold_answer(self, 0)
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close what was idle for long, without waiting for an unread answer to be read."""
        self.transport.abort()

    def shutdown(self) -> None:
        """Close, or finish the request; a client that does not read its answer holds up no stop."""
        self._stops = True
        super().shutdown()
        if self.transport.is_closing():
            self._arm(self._limits.unread_s, self.transport.abort)

    def give_way(self, reason: str) -> None:
        """End it, counted by reason; with an answer where one is waited for and no other one is on its way."""
        self._connections.cut(reason)
        cycle = self.cycle
        begun = cycle is not None and not cycle.response_complete
        if self._writes() or not (begun or self._in_head):
            self.transport.abort()
            return
        if begun:
            cycle.disconnected = True
            cycle.message_event.set()
        self._end_with(_FULL)

    def _next_begins(self) -> None:
        if not self.pipeline:
            self._connections.hold_queue(self, 0)
            if self.cycle.more_body:
                self._connections.waits(self)

    def _writes(self) -> bool:
        unread_bytes: int = self.transport.get_write_buffer_size()
        cycle = self.cycle
        answering = cycle is not None and cycle.response_started and not cycle.response_complete
        return unread_bytes > 0 or bool(self.pipeline) or answering

    def _unfinished(self, read_bytes: int) -> None:
        """The parser keeps what is not complete, whatever its size."""
        if self._unparsed_bytes > self._limits.head_bytes:
            self._connections.cut("large_head")
            _log.warning("request_head_too_large")
            self._end_with(_TOO_LARGE)
            return
        if self._in_head:
            # All of the last read, if it held the end of another request: rather too much than too little.
            self._holds_head = True
            self._connections.hold_head(self, max(self._unparsed_bytes, read_bytes))
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._arm(self._limits.head_s, self._head_is_late)

    def _check_head(self) -> None:
        head_bytes = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if head_bytes > self._limits.head_bytes or len(self.headers) > self._limits.headers:
            self._refuse(_TOO_LARGE, "large_head")

    def _refuse(self, answer: bytes, reason: str) -> None:
        # Leaves the parser, whose caller asks for an answer to be sent.
        self._refusal = answer
        self._connections.cut(reason)
        raise ValueError(reason)

    def _drop(self, dropped_bytes: int) -> None:
        self._dropped_bytes += dropped_bytes
        if self._dropped_bytes > self._limits.read_on_bytes:
            self._body_is_late()

    def _body_is_late(self) -> None:
        self._connections.cut("endless_body")
        self.transport.abort()

    def _head_is_late(self) -> None:
        self._connections.cut("slow_head")
        if self._in_head:
            self.transport.write(_TOO_SLOW)
            self._hang_up(self._limits.head_s)
        else:
            self.transport.abort()

    def _hang_up(self, after_s: float) -> None:
        self._hung_up = True
        self.transport.write_eof()
        self._arm(after_s, self.transport.abort)

    def _end_with(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()

    def _arm(self, after_s: float, then: Callable[[], None]) -> None:
        self._disarm()
        self._timer = self.loop.call_later(after_s, then)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None


class _ReadingOn:
    """What a request's cycle sees of the transport while the body is not complete: closing it waits for the client."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        self._protocol = protocol
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing
        self.close = protocol.close_after_body


class _ReadingNoFurther(FlowControl):
    """Reads on only when no request waits for the one before it: else each answer would buy one more read to keep."""

    def __init__(self, transport: Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        if not self._pipeline:
            super().resume_reading()
