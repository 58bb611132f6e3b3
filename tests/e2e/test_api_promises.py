"""What a client may rely on when it repeats a POST: one notification, whatever was killed and wherever it landed."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from wavecom_common.events import codec, routing
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import connected
from wavecom_common.storage import indexes
from wavecom_common.storage.client import Database
from wavecom_common.testing.waiting import eventually

SCRIPT = Path(__file__).with_name("crashing_api.py")
PATH = "/api/notifications"
BODY = {"recipient": "+15551234567", "message": "Your code is 1234", "channel": "sms"}
KEY = {"Idempotency-Key": "0b5c8b64-9a4e-4d0f-8d5f-1f0a4c7a9d3e"}


@dataclass(frozen=True)
class Stage:
    """A broker and a database for copies of ingest-api; nobody reads the queues."""

    broker_url: str
    environment: dict[str, str]
    folder: Path


@pytest.fixture
async def stage(broker_url: str, mongodb_url: str, database_name: str, tmp_path: Path) -> Stage:
    await topology.apply(broker_url, topology.plan([1_000]), settle_s=0)
    database = Database(mongodb_url, database_name)
    await indexes.apply(database)
    await database.close()
    environment = {
        **os.environ,
        "WAVECOM_RABBITMQ_URL": broker_url,
        "WAVECOM_MONGODB_URL": mongodb_url,
        "WAVECOM_MONGODB_DATABASE": database_name,
    }
    return Stage(broker_url, environment, tmp_path)


@asynccontextmanager
async def api(
    stage: Stage, port: int, point: str = "nowhere"
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """One copy of ingest-api, connected to the broker."""
    with (stage.folder / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, SCRIPT, point, stage.folder / "marker"),
            env=stage.environment | {"WAVECOM_HTTP_PORT": str(port)},
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            await eventually(lambda: takes_posts(client), timeout_s=30, what="the API")
            yield process, client
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def takes_posts(client: httpx.AsyncClient) -> bool:
    """Whether it is up, asked with a request that has no effect."""
    try:
        return (await client.post(PATH, json={})).status_code == 400
    except httpx.TransportError:
        return False


async def published(stage: Stage) -> dict[str, str]:
    """The notification of each event that the dispatcher would get."""
    found: dict[str, str] = {}
    async with connected(stage.broker_url, "test") as connection:
        channel = await connection.channel()
        queue = await channel.get_queue(routing.DISPATCHER_QUEUE)
        while (message := await queue.get(no_ack=True, fail=False)) is not None:
            for event in codec.decode(
                message.body, content_type=message.content_type, content_encoding=message.content_encoding
            ):
                found[event.event_id] = event.notification_id
    return found


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
    async with api(Stage(stage.broker_url, stage.environment | without, stage.folder), unused_tcp_port_factory()) as (
        _,
        client,
    ):
        keyed = await client.post(PATH, json=BODY, headers=KEY)
        plain = await client.post(PATH, json=BODY)

    assert (keyed.status_code, keyed.headers["retry-after"]) == (503, "1")
    assert plain.status_code == 201
    assert list((await published(stage)).values()) == [plain.json()["data"]["id"]]
