"""The server over a real socket: what clients send that no client should."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from wavecom_common.hosting.http import HttpServer
from wavecom_common.hosting.http_limits import HttpLimits

READ_BYTES = 256 * 1024
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


async def length_of_the_body(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    server = HttpServer(length_of_the_body, name="test", host="127.0.0.1", port=0)
    await server.start()
    yield server
    await server.drain()
    await server.close()


async def talk(server: HttpServer, *pieces: bytes) -> bytes:
    """Send the pieces until the server hangs up; what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
        return await reader.read()
    except ConnectionError:
        # It hung up while we were sending; what it had said may be lost with that.
        return b""
    finally:
        writer.close()


async def test_a_header_without_end_is_not_kept(server: HttpServer):
    sent_bytes = 0
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(GET + b"X-Endless: ")
    while not reader.at_eof() and sent_bytes < 10_000_000 and not writer.is_closing():
        writer.write(b"x" * 16_384)
        sent_bytes += 16_384
        try:
            await writer.drain()
        except ConnectionError:
            break
    writer.close()

    assert sent_bytes < 10_000_000


@pytest.mark.parametrize(
    "pieces",
    [
        [GET + b"X-Large: ", b"x" * 10_000_000],
        [GET, b"X-Many: x\r\n" * 1_000_000],
        [b"GET /" + b"x" * 10_000_000],
        [POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: " + b"x" * 10_000_000],
        [POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 10_000_000],
    ],
    ids=["one header", "many headers", "the path", "a trailer", "a chunk's extension"],
)
async def test_what_is_too_large_beside_the_body_ends_the_connection(server: HttpServer, pieces: list[bytes]):
    said = await talk(server, *pieces)

    assert said == b"" or said.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    assert (await talk(server, GET + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_headers_below_the_limit_and_bodies_far_above_it_are_read(server: HttpServer):
    head = POST + b"X-Large: " + b"x" * (HttpLimits().head_bytes - 1024) + b"\r\nConnection: close\r\n"
    body = b"x" * (5 * READ_BYTES)

    said = await talk(server, head[:100], head[100:], b"Content-Length: %d\r\n\r\n" % len(body), body)

    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.endswith(str(len(body)).encode())


@pytest.mark.parametrize("said_before", [b"", b"POST", POST, POST + b"Content-Length: 10\r\n\r\n12345"])
async def test_a_client_that_hangs_up_in_the_middle_does_no_harm(server: HttpServer, said_before: bytes):
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(said_before)
        await writer.drain()
        writer.transport.abort()

    assert (await talk(server, GET + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("nonsense", [b"\0" * 100, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"hello\r\n\r\n"])
async def test_what_is_no_http_is_answered_with_400(server: HttpServer, nonsense: bytes):
    assert (await talk(server, nonsense)).startswith(b"HTTP/1.1 400 ")
