"""What the connections of one HTTP server may hold together, and which of them gives way.

A connection that waits for its client (for a request, the rest of one, or nothing in particular) may be closed at any
time (RFC 9112, section 9.5); one whose request is being worked on is not. So the one that has waited longest gives way
to a new connection, and what clients left unfinished or unread is bounded over all connections.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from wavecom_common.telemetry import metrics

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """The limits of one server.

    Attributes:
        connections: open at once. An idle one takes about 10 KB.
        head_bytes: of a request's first line and headers together.
        headers: of one request.
        pipelined: requests that one connection may have waiting behind the one being answered.
        stop_s: how long a body is read on while the server stops.
        head_s: from the connection, or from a request's first byte, until its head is complete.
        idle_s: between requests. Longer than proxies keep theirs, or they use one that is just being closed.
        read_on_s, read_on_bytes: how long and how much of a body is read and dropped after its answer, so that a client
            that is still sending gets to read it, as nginx's lingering close does.
        unread_s: until a client that does not read its answer is cut off.
        held_head_bytes: incomplete heads of all connections.
        held_answer_bytes: unread answers of all connections.
        held_queue_bytes: pipelined requests of all connections.
    """

    connections: int = 2_000
    head_bytes: int = 32 * 1024
    headers: int = 100
    pipelined: int = 250
    head_s: float = 10.0
    idle_s: int = 75
    read_on_s: float = 30.0
    read_on_bytes: int = 64 * MIB
    stop_s: float = 1.0
    unread_s: float = 30.0
    held_head_bytes: int = 16 * MIB
    held_answer_bytes: int = 16 * MIB
    held_queue_bytes: int = 32 * MIB


class Connection(Protocol):
    """One of them."""

    def give_way(self, reason: str) -> None:
        """End it now; `reason` is the metric's label."""
        ...


class _Held:
    """Bytes by connection, with a limit over all of them. Whose bytes are held longest goes first."""

    def __init__(self, max_bytes: int) -> None:
        self.total_bytes = 0
        self._max_bytes = max_bytes
        self._by_connection: dict[Connection, int] = {}

    def hold(self, connection: Connection, held_bytes: int) -> Connection | None:
        """Set what a connection holds; the connection that has to give way for it, if one has to."""
        self.total_bytes += held_bytes - self._by_connection.get(connection, 0)
        self._by_connection[connection] = held_bytes
        return next(iter(self._by_connection)) if self.total_bytes > self._max_bytes else None

    def release(self, connection: Connection) -> None:
        """It holds nothing."""
        self.total_bytes -= self._by_connection.pop(connection, 0)


class Connections:
    """The connections of the server `name`."""

    def __init__(self, name: str, limits: HttpLimits) -> None:
        self.limits = limits
        self._name = name
        self._open: set[Connection] = set()
        # Those that wait for their client, the longest first.
        self._waiting: dict[Connection, None] = {}
        self._heads = _Held(limits.held_head_bytes)
        self._answers = _Held(limits.held_answer_bytes)
        self._queues = _Held(limits.held_queue_bytes)
        metrics.HTTP_CONNECTIONS.labels(name).set_function(lambda: len(self._open))
        metrics.HTTP_HELD_BYTES.labels(name, "heads").set_function(lambda: self._heads.total_bytes)
        metrics.HTTP_HELD_BYTES.labels(name, "answers").set_function(lambda: self._answers.total_bytes)
        metrics.HTTP_HELD_BYTES.labels(name, "queues").set_function(lambda: self._queues.total_bytes)

    def opened(self, connection: Connection) -> bool:
        """Take a new connection in; whether there is room for it, after another one gave way if need be."""
        if len(self._open) >= self.limits.connections:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                self.cut("full")
                return False
            self.closed(oldest)
            oldest.give_way("displaced")
        self._open.add(connection)
        self._waiting[connection] = None
        return True

    def closed(self, connection: Connection) -> None:
        """It holds nothing more."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)
        self._heads.release(connection)
        self._answers.release(connection)
        self._queues.release(connection)

    def waits(self, connection: Connection) -> None:
        """It waits for its client from now on."""
        if connection in self._open:
            self._waiting[connection] = None

    def works(self, connection: Connection) -> None:
        """It has a complete request."""
        self._waiting.pop(connection, None)

    def hold_head(self, connection: Connection, held_bytes: int) -> None:
        """It has so much of a head that is not complete; 0 is none."""
        self._hold(self._heads, connection, held_bytes, "unfinished_heads")

    def hold_answer(self, connection: Connection, held_bytes: int) -> None:
        """It has so much of an answer that its client has not read; 0 is none."""
        self._hold(self._answers, connection, held_bytes, "unread_answers")

    def hold_queue(self, connection: Connection, held_bytes: int) -> None:
        """It has so much of requests that wait for the one before them; 0 is none."""
        self._hold(self._queues, connection, held_bytes, "pipelined_requests")

    def cut(self, reason: str) -> None:
        """Count a connection that was not ended by its client."""
        metrics.HTTP_CUT.labels(self._name, reason).inc()

    def _hold(self, held: _Held, connection: Connection, held_bytes: int, reason: str) -> None:
        if not held_bytes:
            held.release(connection)
            return
        while (oldest := held.hold(connection, held_bytes)) is not None:
            self.closed(oldest)
            oldest.give_way(reason)
            if oldest is connection:
                return
