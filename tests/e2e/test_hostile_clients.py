"""Clients that hold the API's memory and connections: it stays bounded, and everybody else is answered."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import psutil
from wavecom_common.testing.waiting import eventually

from tests.e2e.stage import BODY, PATH, Stage, api

MIB = 1024 * 1024
HEAD = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"


@asynccontextmanager
async def connections(port: int, count: int) -> AsyncIterator[list[socket.socket]]:
    """Sockets that nobody reads."""
    loop = asyncio.get_running_loop()
    opened = []
    try:
        for _ in range(count):
            one = socket.socket()
            one.setblocking(False)
            opened.append(one)
            await loop.sock_connect(one, ("127.0.0.1", port))
        yield opened
    finally:
        for one in opened:
            one.close()


async def say(one: socket.socket, data: bytes) -> None:
    # The API may have hung up.
    with suppress(ConnectionError):
        await asyncio.get_running_loop().sock_sendall(one, data)


async def healthy(client: httpx.AsyncClient, port: int) -> None:
    """New clients, and one that has its connection, are answered soon."""
    for _ in range(10):
        async with asyncio.timeout(10):
            assert (await client.post(PATH, json=BODY)).status_code == 201
        async with asyncio.timeout(10), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as another:
            assert (await another.post(PATH, json=BODY)).status_code == 201
            assert (await another.get("/health")).status_code == 200


def rss(process: asyncio.subprocess.Process) -> int:
    return psutil.Process(process.pid).memory_info().rss


async def test_slow_senders_of_large_bodies_fill_no_memory(stage: Stage, unused_tcp_port: int) -> None:
    async with api(stage, unused_tcp_port) as (process, client):
        await healthy(client, unused_tcp_port)
        before = rss(process)
        async with connections(unused_tcp_port, 200) as slow:
            begin = HEAD % (f"{PATH}/batch".encode(), 4 * MIB) + b"\r\n" + b" " * 3 * MIB
            sending = [asyncio.create_task(say(one, begin)) for one in slow]
            await healthy(client, unused_tcp_port)
            await asyncio.wait(sending)
            await healthy(client, unused_tcp_port)
            assert rss(process) - before < 128 * MIB


async def test_idle_connections_and_slow_heads_keep_nobody_out(stage: Stage, unused_tcp_port: int) -> None:
    async with api(stage, unused_tcp_port) as (process, client):
        await healthy(client, unused_tcp_port)
        before = rss(process)
        async with connections(unused_tcp_port, 2_000) as idle, connections(unused_tcp_port, 500) as slow:
            for one in slow:
                await say(one, HEAD % (PATH.encode(), 10) + b"X-Slow: " + b"x" * 30_000)
            await healthy(client, unused_tcp_port)
            assert rss(process) - before < 96 * MIB
            # What was never used ends in time.
            await eventually(lambda: _is_closed(idle[-1]), timeout_s=20, what="the end of an idle connection")
        await healthy(client, unused_tcp_port)


def _is_closed(one: socket.socket) -> bool:
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
