"""How many requests are worked on at once, and what POSTs may hold in memory together."""

from types import TracebackType
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from wavecom_common.telemetry import metrics

from ingest_api.errors import RETRY_SOON_S, Refusal

# Each waits for the broker for up to some seconds when that is slow. Beyond it a connection is left for GETs.
MAX_POSTS: Final = 1_000
MAX_GETS: Final = 250
MIB: Final = 1024 * 1024
MAX_MEMORY_BYTES: Final = 128 * MIB
# Only for POSTs that hold little, so that a few large ones do not keep them out.
RESERVED_BYTES: Final = 32 * MIB
LITTLE_BYTES: Final = 64 * 1024

# Measured with 8 valid batches of 4 MB and of 166 KB in flight: 2.6 times the body for its text, as bytes, as values
# and in events; 2,700 bytes for each notification, which takes at least 58 bytes of a body.
_TIMES: Final = 3
_NOTIFICATION_BYTES: Final = 2_700
_MIN_NOTIFICATION_BYTES: Final = 58


def memory_bytes(body_bytes: int, max_notifications: int) -> int:
    """What a POST with such a body will hold until it is answered, at most. An estimate. Pure."""
    notifications = 1 + body_bytes // _MIN_NOTIFICATION_BYTES
    if notifications > max_notifications:
        notifications = max_notifications
    return _TIMES * body_bytes + _NOTIFICATION_BYTES * notifications


class InFlight:
    """Requests of a kind that are worked on, up to a limit."""

    def __init__(self, kind: str, limit: int) -> None:
        self._count = 0
        self._limit = limit
        metrics.REQUESTS_IN_FLIGHT.labels(kind).set_function(lambda: self._count)

    def enter(self) -> None:
        """Begin one.

        Raises:
            Refusal: 503, there are as many as may be.
        """
        if self._count >= self._limit:
            raise Refusal(
                503, "Too many requests are being worked on; try again", reason="requests", retry_after_s=RETRY_SOON_S
            )
        self._count += 1

    def leave(self) -> None:
        """End one."""
        self._count -= 1


class Intake:
    """The limits of POSTs: `max_bytes` of memory by estimate, and `max_posts` at once."""

    def __init__(self, max_bytes: int, *, max_posts: int = MAX_POSTS) -> None:
        self.in_flight = InFlight("post", max_posts)
        self._max_bytes = max_bytes
        self._held_bytes = 0
        metrics.REQUEST_MEMORY_BYTES.set_function(lambda: self._held_bytes)

    def admit(self, receive: Receive, held_bytes: int) -> "Admission":
        """Take in one that will hold so much; give it back by leaving the context.

        Raises:
            Refusal: 503, before anything of its body is read.
        """
        reserved = 0 if held_bytes <= LITTLE_BYTES else RESERVED_BYTES
        if self._held_bytes + held_bytes > self._max_bytes - reserved:
            raise Refusal(
                503,
                "The requests being worked on take too much memory; try again",
                reason="memory",
                retry_after_s=RETRY_SOON_S,
            )
        self._held_bytes += held_bytes
        return Admission(self, receive, held_bytes)

    def give_back(self, held_bytes: int) -> None:
        """What one held is free."""
        self._held_bytes -= held_bytes


class Admission:
    """One POST that was taken in. It counts as in flight once its body is complete: a slow client is no work yet."""

    __slots__ = ("_held_bytes", "_in_flight", "_intake", "_receive")

    def __init__(self, intake: Intake, receive: Receive, held_bytes: int) -> None:
        self._intake = intake
        self._receive = receive
        self._held_bytes = held_bytes
        self._in_flight = False

    def __enter__(self) -> Receive:
        return self._receiving

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._intake.give_back(self._held_bytes)
        if self._in_flight:
            self._intake.in_flight.leave()

    async def _receiving(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body") and not self._in_flight:
            self._intake.in_flight.enter()
            self._in_flight = True
        return message


class LimitedGets:
    """Middleware: no more than `limit` at once of all but POSTs and `/health`, which says that the server runs."""

    def __init__(self, app: ASGIApp, limit: int = MAX_GETS) -> None:
        self._app = app
        self._in_flight = InFlight("get", limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, or answer 503."""
        if scope["method"] == "POST" or scope["path"] == "/health":
            await self._app(scope, receive, send)
            return
        try:
            self._in_flight.enter()
        except Refusal as refusal:
            metrics.REFUSED.labels(refusal.reason).inc()
            await refusal.response()(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight.leave()
