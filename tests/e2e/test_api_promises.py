"""What a client may rely on when it repeats a POST: one notification, whatever was killed and wherever it landed."""

import asyncio
import json
import signal

import httpx
import pytest

from tests.e2e.stage import BODY, KEY, PATH, Stage, api, published


@pytest.mark.parametrize("point", ["after the key", "after the confirm", "before the answer"])
async def test_a_retry_after_a_crash_is_the_same_notification(stage: Stage, unused_tcp_port: int, point: str) -> None:
    async with api(stage, unused_tcp_port, point) as (process, client):
        with pytest.raises(httpx.TransportError):
            await client.post(PATH, json=BODY, headers=KEY)
        assert await process.wait() == -signal.SIGKILL
    async with api(stage, unused_tcp_port) as (_, client):
        answer = await client.post(PATH, json=BODY, headers=KEY)
        again = await client.post(PATH, json=BODY, headers=KEY)

    assert (answer.status_code, again.status_code) == (201, 201)
    assert again.content == answer.content
    assert again.headers["idempotent-replayed"] == "true"
    assert list((await published(stage)).values()) == [answer.json()["data"]["id"]]


@pytest.mark.timeout(120)
async def test_ten_thousand_posts_of_one_key_to_two_copies_are_one_notification(
    stage: Stage, unused_tcp_port_factory
) -> None:
    ports = unused_tcp_port_factory(), unused_tcp_port_factory()
    async with api(stage, ports[0]), api(stage, ports[1]):
        rows = await asyncio.gather(*[post_in_a_row(port, 100) for _ in range(50) for port in ports])

    answers = [answer for row in rows for answer in row]
    assert len(answers) == 10_000
    assert {status for status, _ in answers} == {201}
    [body] = {body for _, body in answers}
    [notification_id] = (await published(stage)).values()
    assert notification_id.encode() in body


async def post_in_a_row(port: int, count: int) -> list[tuple[int, bytes]]:
    """The status and body of each answer to as many POSTs of the key, sent on one connection without waiting."""
    body = json.dumps(BODY)
    [(name, key)] = KEY.items()
    length = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n{name}: {key}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write((head + body).encode() * count)
    answers: list[tuple[int, bytes]] = []
    for _ in range(count):
        status, *headers = (await reader.readuntil(b"\r\n\r\n")).lower().splitlines()
        [length] = [int(header.split(b":")[1]) for header in headers if header.startswith(b"content-length:")]
        answers.append((int(status.split()[1]), await reader.readexactly(length)))
    writer.close()
    return answers


async def test_the_database_is_only_needed_for_keys(stage: Stage, unused_tcp_port_factory) -> None:
    nowhere = f"mongodb://127.0.0.1:{unused_tcp_port_factory()}/?directConnection=true"
    without = {"WAVECOM_MONGODB_URL": nowhere, "WAVECOM_ACCEPT_TIMEOUT_S": "1"}
    async with api(stage, unused_tcp_port_factory(), **without) as (_, client):
        keyed = await client.post(PATH, json=BODY, headers=KEY)
        plain = await client.post(PATH, json=BODY)

    assert (keyed.status_code, keyed.headers["retry-after"]) == (503, "1")
    assert plain.status_code == 201
    assert list((await published(stage)).values()) == [plain.json()["data"]["id"]]
