"""Posting as fast as the API answers, over a fixed number of connections, at little cost of our own."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

# After that many refusals in a row the API is taken to be broken, not busy.
_MAX_REFUSALS: Final = 600


@dataclass
class Posted:
    """What came of a load. Latencies in seconds, of accepted POSTs."""

    accepted: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API said; `retry_after_s` is 0 where it did not."""

    status: int
    retry_after_s: float
    body: bytes


class Connection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection with one request under way at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def to(cls, host: str, port: int) -> "Connection":
        """A connection to the API.

        Raises:
            OSError: nobody listens there.
        """
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the API closed the connection"))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < int(_header(head, b"content-length:") or 0):
            return
        self._buffer = b""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(int(head[9:12]), float(_header(head, b"retry-after:") or 0), body))

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        """Send the request; the answer raises ConnectionError when the link is lost before it came."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            self._answer.set_exception(ConnectionError("the API closed the connection"))
        else:
            self._transport.write(request)
        return self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


async def post_all(
    host: str,
    port: int,
    requests: Iterator[tuple[int, bytes]],
    connections: int,
    posted: Posted | None = None,
    *,
    per_s: float | None = None,
) -> Posted:
    """Post everything; a 503 is repeated when the API says so. `posted`, if given, is filled as it goes.

    With `per_s` requests are due at random moments, so many a second on average, and a latency counts from when its
    request was due: as long as a connection is free then, no answer delays a request.

    Raises:
        ConnectionError: the API is gone, or refuses without end.
    """
    posted = posted or Posted()
    began_s = perf_counter()
    due = _due(requests, began_s, per_s)
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_post_some(host, port, due, posted))
    posted.seconds = perf_counter() - began_s
    return posted


def _due(
    requests: Iterator[tuple[int, bytes]], began_s: float, per_s: float | None
) -> Iterator[tuple[float, int, bytes]]:
    """Each request with the moment it is due, as `perf_counter` has it; without a rate, now."""
    waits = random.Random(1)
    at_s = began_s
    for count, request in requests:
        at_s = perf_counter() if per_s is None else at_s + waits.expovariate(per_s)
        yield at_s, count, request


async def _post_some(host: str, port: int, due: Iterator[tuple[float, int, bytes]], posted: Posted) -> None:
    connection = await Connection.to(host, port)
    try:
        for at_s, count, request in due:
            wait_s = at_s - perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)  # noqa: TID251 - until it is due
            await _post_one(connection, count, request, at_s, posted)
    finally:
        connection.close()


async def _post_one(connection: Connection, count: int, request: bytes, began_s: float, posted: Posted) -> None:
    for _ in range(_MAX_REFUSALS):
        answer = await connection.ask(request)
        posted.statuses[answer.status] += 1
        if answer.status == 201:
            posted.latencies_s.append(perf_counter() - began_s)
            posted.accepted += count
            return
        if answer.status != 503:
            raise ConnectionError(f"the API answered {answer.status}")
        await asyncio.sleep(max(answer.retry_after_s, 0.1))  # noqa: TID251 - as the API asks
        began_s = perf_counter()
    raise ConnectionError("the API refuses without end")


def _header(head: bytes, name: bytes) -> bytes | None:
    place = head.lower().find(name)
    return None if place < 0 else head[place + len(name) :].split(b"\r\n", 1)[0].strip()
