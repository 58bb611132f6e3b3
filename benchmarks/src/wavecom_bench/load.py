"""Posting as fast as the API answers, over a fixed number of connections, at little cost of our own."""

import asyncio
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


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way; the answer is a status and Retry-After in seconds."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, float]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the API closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < int(_header(head, b"content-length:") or 0):
            return
        self._buffer = b""
        assert self._answer is not None
        self._answer.set_result((int(head[9:12]), float(_header(head, b"retry-after:") or 0)))

    def ask(self, request: bytes) -> "asyncio.Future[tuple[int, float]]":
        """Send the request."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


async def post_all(host: str, port: int, requests: Iterator[tuple[int, bytes]], connections: int) -> Posted:
    """Post everything; a 503 is repeated when the API says so.

    Raises:
        ConnectionError: the API is gone, or refuses without end.
    """
    posted = Posted()
    began_s = perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_post_some(host, port, requests, posted))
    posted.seconds = perf_counter() - began_s
    return posted


async def _post_some(host: str, port: int, requests: Iterator[tuple[int, bytes]], posted: Posted) -> None:
    _, connection = await asyncio.get_running_loop().create_connection(_Connection, host, port)
    try:
        for count, request in requests:
            await _post_one(connection, count, request, posted)
    finally:
        connection.close()


async def _post_one(connection: _Connection, count: int, request: bytes, posted: Posted) -> None:
    for _ in range(_MAX_REFUSALS):
        began_s = perf_counter()
        status, retry_after_s = await connection.ask(request)
        posted.statuses[status] += 1
        if status == 201:
            posted.latencies_s.append(perf_counter() - began_s)
            posted.accepted += count
            return
        if status != 503:
            raise ConnectionError(f"the API answered {status}")
        await asyncio.sleep(max(retry_after_s, 0.1))  # noqa: TID251 - as the API asks
    raise ConnectionError("the API refuses without end")


def _header(head: bytes, name: bytes) -> bytes | None:
    place = head.lower().find(name)
    return None if place < 0 else head[place + len(name) :].split(b"\r\n", 1)[0].strip()
