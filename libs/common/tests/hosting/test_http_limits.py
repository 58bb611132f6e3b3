"""What clients may make a server hold, over real sockets: each limit ends a connection and is counted, others go on."""

import asyncio
import http.client
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from prometheus_client import REGISTRY
from starlette.types import Receive, Scope, Send
from wavecom_common.hosting.http import HttpServer
from wavecom_common.hosting.http_limits import MIB, Connections, HttpLimits
from wavecom_common.testing.waiting import eventually

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
LARGE = 20_000_000
# The most that the server's event loop reads at once.
READ_BYTES = 256 * 1024


class App:
    """Answers without reading; `/read` reads, `/wait` waits for `go`, `/answer` has a large answer."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun = 0
        self.ended = 0
        self.disconnected = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        if scope["path"] == "/wait":
            await self.go.wait()
        if scope["path"] == "/read":
            while (message := await receive()).get("more_body"):
                pass
            if message["type"] == "http.disconnect":
                self.disconnected += 1
                return
        body = b"x" * MIB if scope["path"] == "/answer" else b"small"
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self.ended += 1


@pytest.fixture
def app() -> App:
    return App()


@asynccontextmanager
async def serving(app: App, **limits: float) -> AsyncIterator[HttpServer]:
    server = HttpServer(app, name="limited", host="127.0.0.1", port=0, limits=HttpLimits(**limits))
    await server.start()
    await eventually(lambda: server.ready() is None, what="the server")
    try:
        yield server
    finally:
        app.go.set()
        async with asyncio.timeout(10):
            await server.drain()
        await server.close()


@asynccontextmanager
async def connected(server: HttpServer) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def cut(reason: str) -> float:
    labels = {"server": "limited", "reason": reason}
    return REGISTRY.get_sample_value("wavecom_http_connections_cut_total", labels) or 0.0


def figure(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"server": "limited", **labels}) or 0.0


async def ask(server: HttpServer, path: bytes = b"/") -> bytes:
    """The first line of the answer to a small request on a connection of its own."""
    async with connected(server) as (reader, writer):
        writer.write(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        return (await reader.readline()).rstrip()


ANSWER = b"HTTP/1.1 413 Request Entity Too Large"


def by_http_client(port: int, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/", b" " * LARGE, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def by_http_client_that_closes(port: int) -> int:
    return by_http_client(port, Connection="close")


def by_httpx(port: int) -> int:
    return httpx.post(f"http://127.0.0.1:{port}", content=b" " * LARGE, timeout=20).status_code


def by_httpx_in_chunks(port: int) -> int:
    pieces = iter([b" " * 65_536] * (LARGE // 65_536))
    return httpx.post(
        f"http://127.0.0.1:{port}", content=pieces, timeout=20, headers={"Connection": "close"}
    ).status_code


def by_socket(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % LARGE)
        client.sendall(b" " * LARGE)
        said = b""
        while piece := client.recv(65_536):
            said += piece
    return int(said.split()[1])


@pytest.mark.parametrize("post", [by_http_client, by_http_client_that_closes, by_httpx, by_httpx_in_chunks, by_socket])
async def test_who_sends_twenty_megabytes_reads_the_answer_every_time(app: App, post: Callable[[int], int]):
    async with serving(app) as server:
        for _ in range(10):
            assert await asyncio.to_thread(post, server.port) == 413
        await eventually(lambda: figure("wavecom_http_connections") == 0, what="the end of the connections")


async def test_a_connection_goes_on_after_a_body_that_was_not_read(app: App):
    async with serving(app) as server, connected(server) as (reader, writer):
        for _ in range(3):
            writer.write(POST + b"Content-Length: 500000\r\n\r\n")
            assert (await reader.readuntil(b"small")).startswith(ANSWER)
            writer.write(b" " * 500_000)


async def test_who_waits_to_be_told_to_send_is_answered_and_hung_up_on(app: App):
    async with serving(app) as server, connected(server) as (reader, writer):
        writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 500000\r\n\r\n")
        assert (await reader.read()).startswith(ANSWER)


async def test_a_body_without_end_is_not_read_on_for_ever(app: App):
    async with serving(app, read_on_bytes=MIB) as server, connected(server) as (reader, writer):
        before = cut("endless_body")
        writer.write(POST + b"Content-Length: 1000000000\r\n\r\n")
        await reader.readuntil(b"small")
        with suppress(ConnectionError):
            for _ in range(1_000):
                writer.write(b" " * 65_536)
                await writer.drain()
        assert cut("endless_body") == before + 1


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"])
async def test_a_body_that_stops_coming_after_its_answer_is_not_waited_for(app: App, more: bytes):
    async with serving(app, read_on_s=0.2) as server, connected(server) as (reader, writer):
        writer.write(POST + more + b"Content-Length: 1000\r\n\r\n")
        assert (await reader.read()).startswith(ANSWER)
        await eventually(lambda: figure("wavecom_http_connections") == 0, what="the end of the connection")


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (GET, b"HTTP/1.1 408 "),
        (GET + b"X-Slow: ", b"HTTP/1.1 408 "),
        (b"P", b"HTTP/1.1 408 "),
    ],
)
async def test_a_head_that_stops_coming_is_not_waited_for(app: App, said: bytes, answer: bytes):
    async with serving(app, head_s=0.2) as server, connected(server) as (reader, writer):
        before = cut("slow_head")
        writer.write(said)
        heard = await reader.read()
        assert heard.startswith(answer)
        assert bool(heard) == bool(answer)
        assert cut("slow_head") == before + 1


async def test_a_head_that_drips_in_has_no_more_time_also_on_a_connection_in_use(app: App):
    async with serving(app, head_s=0.3) as server, connected(server) as (reader, writer):
        writer.write(GET + b"\r\n")
        await reader.readuntil(b"small")
        begun = asyncio.get_running_loop().time()
        writer.write(GET)

        async def dripping() -> bool:
            writer.write(b"X-Drip: x\r\n")
            return reader.at_eof() or writer.is_closing()

        heard = asyncio.create_task(reader.read())
        await eventually(dripping, timeout_s=5, what="the end")
        assert (await heard).startswith(b"HTTP/1.1 408 ")
        assert asyncio.get_running_loop().time() - begun < 3


async def test_an_idle_connection_ends_in_time_and_one_in_use_does_not(app: App):
    async with serving(app, head_s=0.2, idle_s=1) as server, connected(server) as (reader, writer):
        writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await eventually(lambda: app.begun, what="the request")
        async with connected(server) as (idle, _):
            assert await idle.read() == b""
        app.go.set()
        assert (await reader.read()).startswith(ANSWER)


async def test_many_headers_are_refused_however_small(app: App):
    async with serving(app) as server:
        for number, answer in ((90, ANSWER), (200, b"HTTP/1.1 431 Request Header Fields Too Large")):
            async with connected(server) as (reader, writer):
                writer.write(GET + b"a:b\r\n" * number + b"\r\n")
                assert (await reader.readline()).rstrip() == answer


async def test_a_head_that_comes_in_one_piece_is_bounded_as_well(app: App):
    async with serving(app) as server, connected(server) as (reader, writer):
        writer.write(GET + b"X-Large: " + b"x" * 40_000 + b"\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")
    assert app.begun == 0


async def test_a_large_body_in_one_piece_with_its_head_is_read(app: App):
    async with serving(app) as server, connected(server) as (reader, writer):
        writer.write(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000)
        assert (await reader.readline()).startswith(ANSWER)


async def test_requests_in_a_row_are_answered_in_a_row(app: App):
    async with serving(app) as server, connected(server) as (reader, writer):
        writer.write((GET + b"\r\n") * 200)
        for _ in range(200):
            await reader.readuntil(b"small")
        assert figure("wavecom_http_held_bytes", what="queues") == 0


async def test_requests_in_a_row_are_bounded(app: App):
    async with serving(app) as server, connected(server) as (reader, writer):
        before = cut("pipelined")
        writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" * 5_000)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        assert cut("pipelined") == before + 1


async def test_requests_in_a_row_are_bounded_together(app: App):
    async with serving(app, held_queue_bytes=1_000_000) as server:
        before = cut("pipelined_requests")
        writers = []
        for _ in range(8):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
            writers.append(writer)
        await eventually(lambda: cut("pipelined_requests") > before, what="the oldest of them")
        assert figure("wavecom_http_held_bytes", what="queues") <= 1_000_000
        assert await ask(server) == ANSWER
        for writer in writers:
            writer.transport.abort()


def kept_body_bytes(server: HttpServer) -> int:
    return sum(len(one.cycle.body) for one in server._server.server_state.connections if one.cycle)


def kept_head_bytes(server: HttpServer) -> int:
    queued = [cycle for one in server._server.server_state.connections for cycle, _ in one.pipeline]
    return sum(len(name) + len(value) for cycle in queued for name, value in cycle.scope["headers"])


async def test_an_answer_buys_no_further_read_of_a_body_that_waits_behind_others(app: App):
    async with serving(app) as server, connected(server) as (_, writer):
        writer.write((GET + b"\r\n") * 240 + b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        writer.write(b" " * 80_000_000)
        await eventually(lambda: app.begun == 241, what="the last request")
        assert 0 < kept_body_bytes(server) <= READ_BYTES


async def test_what_is_kept_of_waiting_requests_is_counted(app: App):
    async with serving(app) as server, connected(server) as (reader, writer):
        writer.write((GET + b"\r\n") * 100 + b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        writer.write((GET + b"X-Large: " + b"x" * 30_000 + b"\r\n\r\n") * 149)
        await eventually(lambda: app.begun == 101, what="the one that waits")
        assert 0 < kept_head_bytes(server) <= figure("wavecom_http_held_bytes", what="queues")
        app.go.set()
        for _ in range(250):
            await reader.readuntil(b"small")
        assert figure("wavecom_http_held_bytes", what="queues") == 0


async def test_a_body_is_not_kept_beyond_its_answer(app: App):
    async with serving(app) as server, connected(server) as (reader, writer):
        writer.write(POST + b"Connection: close\r\nContent-Length: 200000\r\n\r\n" + b" " * 100_000)
        assert (await reader.read()).startswith(ANSWER)
        assert kept_body_bytes(server) == 0


async def test_a_body_that_stops_coming_holds_up_no_stop(app: App):
    async with serving(app) as server, connected(server) as (reader, writer):
        writer.write(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n12345")
        await eventually(lambda: app.begun, what="the request")
        stopping = asyncio.create_task(server.drain())
        # So that the stop is known before the answer.
        await asyncio.wait([stopping], timeout=0.3)
        app.go.set()
        assert (await reader.read()).startswith(ANSWER)
        async with asyncio.timeout(5):
            await stopping


async def test_the_longest_idle_gives_way_to_a_new_connection(app: App):
    async with serving(app, connections=3) as server:
        before = cut("displaced")
        async with connected(server) as (oldest, _), connected(server) as (second, _), connected(server) as (_, third):
            await eventually(lambda: figure("wavecom_http_connections") == 3, what="three connections")
            assert await ask(server) == ANSWER
            assert await oldest.read() == b""
            assert not second.at_eof()
            assert not third.is_closing()
        assert cut("displaced") == before + 1


async def test_what_is_still_being_sent_gives_way_and_hears_of_it(app: App):
    async with serving(app, connections=2) as server:
        async with connected(server) as (head, writer), connected(server) as (body, sender):
            writer.write(GET)
            sender.write(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
            await eventually(lambda: app.begun, what="the request")
            assert await ask(server) == ANSWER
            assert await ask(server) == ANSWER
            for reader in (head, body):
                assert (await reader.read()).startswith(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n")
        await eventually(lambda: app.disconnected == 1, what="the end of the request")


async def test_a_body_that_is_still_being_sent_behind_another_request_gives_way(app: App):
    async with serving(app, connections=3) as server:
        body = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345"
        async with connected(server) as first, connected(server) as second, connected(server) as third:
            for reader, writer in (first, second, third):
                writer.write(GET + b"\r\n" + body)
                await reader.readuntil(b"small")
            await eventually(lambda: app.begun == 6, what="the requests")
            assert await ask(server) == ANSWER
            assert (await first[0].read()).startswith(b"HTTP/1.1 503 ")


async def test_requests_being_worked_on_give_way_to_nobody(app: App):
    async with serving(app, connections=2) as server:
        before = cut("full")
        working = [asyncio.create_task(ask(server, b"/wait")) for _ in range(2)]
        await eventually(lambda: app.begun == 2, what="the requests")
        assert await ask(server) == b"HTTP/1.1 503 Service Unavailable"
        app.go.set()
        assert await asyncio.gather(*working) == [ANSWER, ANSWER]
        assert cut("full") == before + 1
        assert await ask(server) == ANSWER


@asynccontextmanager
async def deaf_client(server: HttpServer) -> AsyncIterator[None]:
    """One that asks for more than the kernel takes on its own, and reads nothing."""
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        await asyncio.get_running_loop().sock_connect(deaf, ("127.0.0.1", server.port))
        await asyncio.get_running_loop().sock_sendall(deaf, b"GET /answer HTTP/1.1\r\nHost: x\r\n\r\n" * 16)
        yield


async def test_who_does_not_read_an_answer_is_cut_off(app: App):
    async with serving(app, unread_s=0.3) as server:
        before = cut("unread_answer")
        async with deaf_client(server):
            await eventually(lambda: cut("unread_answer") == before + 1, what="the end")
            await eventually(lambda: figure("wavecom_http_connections") == 0, what="the end of the connection")
        assert figure("wavecom_http_held_bytes", what="answers") == 0


async def test_unread_answers_are_bounded_together(app: App):
    async with serving(app, held_answer_bytes=100_000) as server:
        before = cut("unread_answers")
        async with deaf_client(server):
            await eventually(lambda: cut("unread_answers") == before + 1, what="the end")
        assert figure("wavecom_http_held_bytes", what="answers") == 0
        assert await ask(server) == ANSWER


class Remembering:
    """A connection that remembers why it had to end."""

    def __init__(self) -> None:
        self.reason = ""

    def give_way(self, reason: str) -> None:
        self.reason = reason


def test_what_is_held_longest_goes_first_and_until_all_fits():
    connections = Connections("limited", HttpLimits(held_answer_bytes=100))
    first, second, third, fourth = (Remembering() for _ in range(4))
    for connection in (first, second, third, fourth):
        assert connections.opened(connection)
    connections.hold_answer(first, 40)
    connections.hold_answer(second, 40)
    connections.hold_answer(first, 50)
    assert (first.reason, second.reason) == ("", "")
    connections.hold_answer(third, 90)
    assert (first.reason, second.reason, third.reason) == ("unread_answers", "unread_answers", "")
    connections.hold_answer(third, 0)
    connections.hold_answer(fourth, 101)
    assert fourth.reason == "unread_answers"
    assert figure("wavecom_http_held_bytes", what="answers") == 0
    assert figure("wavecom_http_connections") == 1


async def test_incomplete_heads_are_bounded_together(app: App):
    async with serving(app, held_head_bytes=100_000) as server:
        before = cut("unfinished_heads")
        writers = []
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(GET + b"X-Large: " + b"x" * 20_000)
            writers.append(writer)
        await eventually(lambda: cut("unfinished_heads") >= before + 15, what="the oldest of them")
        assert figure("wavecom_http_held_bytes", what="heads") <= 100_000
        assert await ask(server) == ANSWER
        for writer in writers:
            writer.transport.abort()
        await eventually(lambda: figure("wavecom_http_held_bytes", what="heads") == 0, what="their end")


async def test_the_body_of_a_get_is_not_kept(app: App):
    async with serving(app) as server, connected(server) as (reader, writer):
        writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n")
        # Reading is paused at 64 KiB that are kept.
        async with asyncio.timeout(10):
            for _ in range(200):
                writer.write(b" " * 100_000)
                await writer.drain()
        app.go.set()
        assert (await reader.readline()).startswith(ANSWER)
