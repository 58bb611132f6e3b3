"""How much of a body is read, of what type, and what happens when it stops coming."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from ingest_api.body import MAX_BODY_BYTES
from ingest_api.routes import NOTIFICATIONS

BODY = b'{"recipient": "+2348012345678", "message": "Hello", "channel": "sms"}'
JSON = {"Content-Type": "application/json"}
TOO_LARGE = {"status": "error", "message": "The body must be at most 131,072 bytes"}


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_body_may_come_in_pieces(client):
    assert (
        await client.post(NOTIFICATIONS, headers=JSON, content=chunks(BODY[:10], b"", BODY[10:]))
    ).status_code == 201


async def test_a_body_of_the_greatest_length_is_read(client):
    body = BODY + b" " * (MAX_BODY_BYTES - len(BODY))

    assert (await client.post(NOTIFICATIONS, content=body, headers=JSON)).status_code == 201


async def test_a_body_too_long_is_refused(client):
    answer = await client.post(NOTIFICATIONS, content=BODY + b" " * (MAX_BODY_BYTES - len(BODY) + 1), headers=JSON)

    assert answer.status_code == 413
    assert answer.json() == TOO_LARGE


async def test_a_body_too_long_in_pieces_is_refused_without_reading_all_of_it(client):
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b" " * 32_768

    answer = await client.post(NOTIFICATIONS, content=endless(), headers=JSON)

    assert answer.status_code == 413
    assert answer.json() == TOO_LARGE
    assert taken == MAX_BODY_BYTES // 32_768 + 1


async def test_a_body_announced_too_long_is_refused_unread(app):
    async def never() -> dict[str, object]:
        raise AssertionError("the body was read")

    status, _ = await call(app, never, headers=[(b"content-type", b"application/json"), (b"content-length", b"131073")])

    assert status == 413


async def test_a_client_that_hangs_up_gets_no_answer_and_does_no_harm(app, pipeline):
    messages = [{"type": "http.request", "body": BODY[:10], "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    status, _ = await call(app, receive, headers=[(b"content-type", b"application/json")])

    assert status is None
    assert pipeline.events == []


@pytest.mark.parametrize("begun", [b"", BODY[:10]])
async def test_a_body_that_stops_coming_is_not_waited_for(client, pipeline, monkeypatch, begun):
    monkeypatch.setattr("ingest_api.body.BODY_TIMEOUT_S", 0.05)

    async def stalled() -> AsyncIterator[bytes]:
        yield begun
        await asyncio.Future()

    answer = await client.post(NOTIFICATIONS, content=stalled(), headers=JSON)

    assert answer.status_code == 408
    assert answer.json() == {"status": "error", "message": "The body must arrive within 0.05 seconds"}
    assert answer.headers["connection"] == "close"
    assert pipeline.events == []


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.wavecom+json"],
)
async def test_json_is_taken_under_any_of_its_names(client, content_type):
    assert (await client.post(NOTIFICATIONS, content=BODY, headers={"Content-Type": content_type})).status_code == 201


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json"]
)
async def test_another_content_type_or_none_is_refused(client, content_type):
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await client.post(NOTIFICATIONS, content=BODY, headers=headers)

    assert answer.status_code == 400
    assert answer.json() == {"status": "error", "message": "The Content-Type must be application/json"}


async def call(app, receive, headers=()):
    """One POST in ASGI's own terms; the status is None when there was no answer."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": NOTIFICATIONS,
        "scheme": "http",
        "http_version": "1.1",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), *headers],
    }
    await app(scope, receive, send)
    return (sent[0]["status"], sent[1]["body"]) if sent else (None, None)
