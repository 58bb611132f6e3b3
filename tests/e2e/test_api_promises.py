"""What a client may rely on when it repeats a POST: one notification, whatever was killed and wherever it landed."""

import asyncio
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
async def test_thousands_of_posts_of_one_key_to_two_copies_are_one_notification(
    stage: Stage, unused_tcp_port_factory
) -> None:
    async with (
        api(stage, unused_tcp_port_factory()) as (_, one),
        api(stage, unused_tcp_port_factory()) as (_, two),
    ):

        async def post_in_a_row(client: httpx.AsyncClient) -> list[httpx.Response]:
            return [await client.post(PATH, json=BODY, headers=KEY) for _ in range(40)]

        rows = await asyncio.gather(*[post_in_a_row(client) for _ in range(25) for client in (one, two)])

    answers = [answer for row in rows for answer in row]
    assert {answer.status_code for answer in answers} == {201}
    [body] = {answer.content for answer in answers}
    [notification_id] = (await published(stage)).values()
    assert notification_id.encode() in body


async def test_the_database_is_only_needed_for_keys(stage: Stage, unused_tcp_port_factory) -> None:
    nowhere = f"mongodb://127.0.0.1:{unused_tcp_port_factory()}/?directConnection=true"
    without = {"WAVECOM_MONGODB_URL": nowhere, "WAVECOM_ACCEPT_TIMEOUT_S": "1"}
    async with api(stage, unused_tcp_port_factory(), **without) as (_, client):
        keyed = await client.post(PATH, json=BODY, headers=KEY)
        plain = await client.post(PATH, json=BODY)

    assert (keyed.status_code, keyed.headers["retry-after"]) == (503, "1")
    assert plain.status_code == 201
    assert list((await published(stage)).values()) == [plain.json()["data"]["id"]]
