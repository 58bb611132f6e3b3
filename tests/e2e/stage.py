"""A copy of ingest-api as a process of the test's own, on a real broker and database; nobody reads the queues."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from wavecom_common.events import routing
from wavecom_common.events.outcomes import Withdrawn
from wavecom_common.storage.client import Database
from wavecom_common.storage.names import DELIVERIES
from wavecom_common.testing.broker import taken
from wavecom_common.testing.processes import running
from wavecom_common.testing.waiting import eventually

SCRIPT = Path(__file__).with_name("crashing_api.py")
PATH = "/api/notifications"
BODY = {"recipient": "+15551234567", "message": "Your code is 1234", "channel": "sms"}
KEY = {"Idempotency-Key": "0b5c8b64-9a4e-4d0f-8d5f-1f0a4c7a9d3e"}


@dataclass(frozen=True)
class Stage:
    """Where the copies are put."""

    broker_url: str
    environment: dict[str, str]
    folder: Path


def process(stage: Stage, *command: str | Path, **more: str) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """`python <command>`, with more settings, told to stop at the end if it still runs."""
    return running(*command, environment=stage.environment | more, log=stage.folder / "log")


@asynccontextmanager
async def api(
    stage: Stage, port: int, point: str = "nowhere", **more: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """One copy, with more settings, connected to the broker."""
    async with (
        process(stage, SCRIPT, point, stage.folder / "marker", WAVECOM_HTTP_PORT=str(port), **more) as copy,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        await eventually(lambda: takes_posts(client), timeout_s=30, what="the API")
        yield copy, client


async def takes_posts(client: httpx.AsyncClient) -> bool:
    """Whether it is up, asked with a request that has no effect."""
    try:
        return (await client.post(PATH, json={})).status_code == 400
    except httpx.TransportError:
        return False


async def published(stage: Stage) -> dict[str, str]:
    """The notification of each event that the dispatcher would get."""
    return {event.event_id: event.notification_id for event in await taken(stage.broker_url, routing.DISPATCHER_QUEUE)}


async def withdrawn(stage: Stage) -> set[str]:
    """The notifications that the API has withdrawn: no sender calls for them."""
    database = Database(stage.environment["WAVECOM_MONGODB_URL"], stage.environment["WAVECOM_MONGODB_DATABASE"])
    found = await database.collection(DELIVERIES).find({"kind": Withdrawn.__name__}).to_list(None)
    await database.close()
    return {document["_id"].removesuffix(":1") for document in found}
