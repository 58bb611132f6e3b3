"""`wavecom rebuild`, `wavecom recover`, `wavecom database shard`: what they say, and their exit status."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from status_projector.model import projection
from status_projector.model.read_model import ReadModel
from status_projector.store.event_store import EventStore
from typer.testing import CliRunner
from wavecom_cli.__main__ import app
from wavecom_common.events import types
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Refused
from wavecom_common.storage import names
from wavecom_common.storage.client import Database
from wavecom_common.testing.builders import a_dispatch, a_request

pytestmark = pytest.mark.connected


@pytest.fixture
async def database(
    monkeypatch: pytest.MonkeyPatch, broker_url: str, mongodb_url: str, database_name: str
) -> AsyncIterator[Database]:
    monkeypatch.setenv("WAVECOM_RABBITMQ_URL", broker_url)
    monkeypatch.setenv("WAVECOM_MONGODB_URL", mongodb_url)
    monkeypatch.setenv("WAVECOM_MONGODB_DATABASE", database_name)
    database = Database(mongodb_url, database_name)
    yield database
    await database.close()


async def wavecom(*arguments: str) -> tuple[int, str]:
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    if isinstance(result.exception, Refused):
        return 1, str(result.exception)
    return result.exit_code, result.output


async def test_a_rebuild_says_where_readers_are_and_how_to_go_back(database: Database) -> None:
    await EventStore(database).append([a_request() for _ in range(3)])

    status, said = await wavecom("rebuild")

    assert status == 0, said
    assert "folded 3 events in" in said
    assert "differences: none" in said
    assert "live: notifications_2. The one before is kept for `wavecom rebuild --rollback`, until `--drop`." in said
    assert "live: notifications_2; notifications is kept up to date" in (await wavecom("rebuild", "--status"))[1]
    assert "live: notifications; what was live is kept" in (await wavecom("rebuild", "--rollback"))[1]
    status, said = await wavecom("rebuild")
    assert status == 1
    assert "drop it first with `wavecom rebuild --drop`" in said


async def test_indexes_are_applied_to_every_collection_that_is_the_read_model_now(database: Database) -> None:
    assert (await wavecom("rebuild"))[0] == 0
    collections = [database.collection(name) for name in names.READ_MODELS]
    for collection in collections:
        await collection.drop_indexes()

    status, said = await wavecom("database", "apply")

    assert (status, said.strip()) == (0, "the indexes are there")
    first, second = [await collection.index_information() for collection in collections]
    assert "recipient_1" in first
    assert first == second


async def test_a_rebuild_that_differs_moves_nobody_and_is_exit_status_one(database: Database) -> None:
    await ReadModel(database, "notifications_2").merge(projection.fold([a_request()]))

    status, said = await wavecom("rebuild", "--settle-s", "0")

    assert status == 1
    assert "differences: 1" in said
    assert "live: notifications, as before" in said
    assert "live: notifications; notifications_2 is being rebuilt" in (await wavecom("rebuild", "--status"))[1]


async def test_only_one_thing_at_a_time_can_be_asked_of_a_rebuild(database: Database) -> None:
    assert (await wavecom("rebuild", "--drop", "--rollback"))[0] == 2


async def test_a_recovery_says_what_it_did(database: Database, broker_url: str) -> None:
    status, said = await wavecom("recover")
    assert status == 1
    assert "run `wavecom topology apply` first" in said
    await wavecom("topology", "apply")
    now_ms = SYSTEM_CLOCK.now_ms()
    lost, done, *waiting = (a_request(now_ms=now_ms) for _ in range(4))
    end = types.failed(done, error="no", reason=types.UNROUTABLE, now_ms=now_ms)
    await EventStore(database).append([a_dispatch(request=lost, now_ms=now_ms), done, end, *waiting])

    status, said = await wavecom("recover", "--dry-run")

    assert status == 0, said
    assert "looked at 5 events of 4 notifications" in said
    assert "would be sent again: 2\n  request: 2" in said
    assert "would be brought up to the store in the read model: 4" in said
    assert (
        f"without their request: 1, left as they are; --give-up ends them as failed\n  {lost.notification_id}" in said
    )
    status, said = await wavecom("recover", "--since", "2100-01-01")
    assert status == 0, said
    assert "looked at 0 events" in said
    status, said = await wavecom("recover", "--give-up")
    assert "\nsent again: 2" in said
    assert "without their request: 1, ended as failed" in said
    assert (await wavecom("check", "--settle-s", "0"))[0] == 0


async def test_a_server_without_shards_is_refused_by_name(database: Database) -> None:
    status, said = await wavecom("database", "shard")

    assert (status, "no mongos" in said) == (1, True)
