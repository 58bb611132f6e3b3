"""A request that reached the event store's queue alone: an API that died between its two publishes."""

import signal
from collections.abc import AsyncIterator

import httpx
import pytest
from status_projector.store.event_store import EventStore
from wavecom_common.events import types
from wavecom_common.storage.client import Database
from wavecom_common.testing.waiting import eventually

from tests.e2e.stage import BODY, PATH, Stage, api, process

SETTINGS = {"WAVECOM_RETRY_BASE_DELAY_S": "1", "WAVECOM_RETRY_LEVELS": "1"}


@pytest.fixture
async def store(mongodb_url: str, database_name: str) -> AsyncIterator[EventStore]:
    database = Database(mongodb_url, database_name)
    yield EventStore(database)
    await database.close()


@pytest.mark.timeout(120)
async def test_what_only_the_event_store_heard_of_has_its_end_within_seconds(
    stage: Stage, store: EventStore, unused_tcp_port: int
) -> None:
    async def ended() -> bool:
        return any([event.type in types.TERMINAL_TYPES async for event in store.stream()])

    async with api(stage, unused_tcp_port, "between the queues") as (dying, client):
        with pytest.raises(httpx.TransportError):
            await client.post(PATH, json=BODY)
        assert await dying.wait() == -signal.SIGKILL
    async with (
        process(stage, "-m", "status_projector", "projector", **SETTINGS),
        process(stage, "-m", "dispatcher", **SETTINGS),
        process(stage, "-m", "sms_sender", **SETTINGS),
    ):
        # Ten seconds of patience, found stuck twice, and the start of the processes.
        await eventually(ended, timeout_s=40, what="the end of a request that only the event store has")
