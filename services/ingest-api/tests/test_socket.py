"""The API over a real socket, and clients that do what no client should: an error or nothing, never a 500."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from ingest_api.routes import BATCH, NOTIFICATIONS
from wavecom_common.hosting.http import HttpServer
from wavecom_common.testing.waiting import eventually

GOOD = b'{"recipient": "+2348012345678", "message": "Hello", "channel": "sms"}'


@pytest.fixture
async def port(app) -> AsyncIterator[int]:
    server = HttpServer(app, name="ingest-api", host="127.0.0.1", port=0)
    await server.start()
    yield server.port
    await server.drain()
    await server.close()


def a_post(body: bytes, *, path: str = NOTIFICATIONS, headers: bytes = b"", length: int | None = None) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    announced = len(body) if length is None else length
    return head.encode() + b"Content-Length: %d\r\n%s\r\n" % (announced, headers) + body


async def say(port: int, request: bytes) -> bytes:
    """The first line of the answer; nothing when the server hung up instead."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        return (await reader.readline()).rstrip()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def all_is_well(port: int) -> bool:
    return await say(port, a_post(GOOD)) == b"HTTP/1.1 201 Created"


@pytest.mark.parametrize("path", [NOTIFICATIONS, BATCH])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000 + b"]" * 1_000,
        b'{"metadata": ' * 1_000 + b"1" + b"}" * 1_000,
        b'{"notifications": ' + b"[" * 1_000 + b"]" * 1_000 + b"}",
        b"NaN",
        b'{"recipient": "+2348012345678", "message": "Hello", "channel": "sms", "metadata": {"a": NaN}}',
        b'{"recipient": "+2348012345678", "message": "Hello", "channel": "sms", "maxAttempts": -Infinity}',
        b'{"recipient": "+2348012345678", "message": "Hello", "message": "Bye", "channel": "sms"}',
        b'{"notifications": [], "notifications": [' + GOOD + b"]}",
        b'{"recipient": "+2348012345678", "message": "\\ud800", "channel": "sms"}',
        b'{"recipient": "+2348012345678", "message": "Hello", "channel": "sms", "metadata": {"\\udc00": 1}}',
        b'{"notifications": [{"message": "\\ud83d"}]}',
        b"\xed\xa0\x80",
        b"\0" * 1_000,
        b'{"maxAttempts": ' + b"9" * 5_000 + b"}",
    ],
)
async def test_nonsense_is_answered_with_400(port: int, path: str, body: bytes):
    assert await say(port, a_post(body, path=path)) == b"HTTP/1.1 400 Bad Request"
    assert await all_is_well(port)


@pytest.mark.parametrize("name", [b"X-Large", b"Idempotency-Key", b"Content-Type", b"Authorization", b"traceparent"])
async def test_ten_megabytes_of_header_are_not_taken(port: int, pipeline, name: bytes):
    first_line = await say(port, a_post(GOOD, headers=name + b": " + b"x" * 10_000_000 + b"\r\n"))

    assert first_line == b"" or first_line.split()[1].startswith(b"4")
    assert pipeline.events == []
    assert await all_is_well(port)


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"99999999999999999999", b"0x10", b"5, 5"])
async def test_a_wrong_content_length_is_a_wrong_request(port: int, length: bytes):
    request = a_post(GOOD).replace(b"Content-Length: 69", b"Content-Length: " + length)

    assert (await say(port, request)).split()[1] in (b"400", b"413")
    assert await all_is_well(port)


@pytest.mark.parametrize("path", [NOTIFICATIONS, BATCH])
async def test_clients_that_hang_up_in_the_middle_leave_nothing_behind(port: int, pipeline, path: str):
    for _ in range(50):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(a_post(GOOD[:20], path=path, length=len(GOOD)))
        await writer.drain()
        writer.transport.abort()

    assert await all_is_well(port)
    assert len(pipeline.events) == 1


async def test_what_is_accepted_stays_so_when_the_client_does_not_wait_for_the_answer(port: int, pipeline):
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(a_post(GOOD))
        await writer.drain()
        writer.write_eof()
        writer.close()

    await eventually(lambda: len(pipeline.events) == 20, what="the notifications")
    assert await all_is_well(port)


async def test_a_client_that_stops_in_the_middle_is_answered_and_holds_up_no_stop(app, pipeline, monkeypatch):
    monkeypatch.setattr("ingest_api.body.BODY_TIMEOUT_S", 0.3)
    server = HttpServer(app, name="ingest-api", host="127.0.0.1", port=0)
    await server.start()
    await eventually(lambda: server.ready() is None, what="the server")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    request = a_post(b"", headers=b"Expect: 100-continue\r\n", length=len(GOOD))
    writer.write(request.replace(b"Connection: close\r\n", b"") + GOOD[:20])
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"

    await server.drain()

    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert pipeline.events == []
    writer.close()
    await server.close()
