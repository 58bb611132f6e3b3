"""`wavecom retention`: what it says would go, and what it removes."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from status_projector.model import projection
from status_projector.model.read_model import ReadModel
from status_projector.retention.late_events import LateEvents
from status_projector.store.event_store import EventStore
from status_projector.store.maintenance import Maintenance
from typer.testing import CliRunner
from wavecom_cli.__main__ import app
from wavecom_common.events import routing, types
from wavecom_common.kernel.errors import ConfigurationError, Unavailable
from wavecom_common.kernel.ids import new_notification_id
from wavecom_common.messaging import topology
from wavecom_common.storage.client import Database
from wavecom_common.storage.held_work import HeldWork
from wavecom_common.testing.broker import publishing, taken
from wavecom_common.testing.builders import NOW_MS, a_request

pytestmark = pytest.mark.connected


@pytest.fixture
async def database(
    monkeypatch: pytest.MonkeyPatch, broker_url: str, mongodb_url: str, database_name: str
) -> AsyncIterator[Database]:
    await topology.apply(broker_url, topology.plan([1000]), settle_s=0)
    monkeypatch.setenv("WAVECOM_RABBITMQ_URL", broker_url)
    monkeypatch.setenv("WAVECOM_MONGODB_URL", mongodb_url)
    monkeypatch.setenv("WAVECOM_MONGODB_DATABASE", database_name)
    database = Database(mongodb_url, database_name)
    yield database
    await database.close()


async def wavecom(*arguments: str) -> str:
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.strip()


async def a_sent_one(database: Database) -> None:
    request = a_request(notification_id=new_notification_id(NOW_MS))
    order = types.dispatched(request, attempt=1, now_ms=NOW_MS)
    events = [request, order, types.sent(order, provider="p", provider_message_id="", now_ms=NOW_MS)]
    await EventStore(database).append(events)
    await ReadModel(database).merge(projection.fold(events))


async def test_a_dry_run_says_what_would_go_and_the_command_removes_it(database: Database) -> None:
    await a_sent_one(database)

    assert (await wavecom("retention", "--dry-run")).splitlines() == [
        "sent: 1 would be removed, 0 ended lately",
        "failed: 0 would be removed, 0 ended lately",
    ]
    assert await EventStore(database).estimated_count() == 3
    assert await wavecom("retention") == "removed: 3 events, 1 sent"
    assert await EventStore(database).estimated_count() == 0
    assert await wavecom("retention", "--anew") == "removed: nothing"


async def test_it_waits_for_who_removes_just_now(database: Database) -> None:
    await a_sent_one(database)
    async with Maintenance(database).alone("a projector"):
        removal = asyncio.create_task(wavecom("retention", "--anew"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await asyncio.shield(removal)

    assert await removal == "removed: 3 events, 1 sent"


async def test_nothing_is_removed_while_an_accepted_event_is_not_stored_yet(
    database: Database, broker_url: str
) -> None:
    await a_sent_one(database)
    late = a_request(notification_id=new_notification_id(NOW_MS))
    async with publishing(broker_url) as publisher:
        await publisher.publish([late], timeout_s=10)
    with pytest.raises(Unavailable, match=r"queue status-projector\.events holds 1 messages"):
        await wavecom("retention")

    # The projector is back.
    events = await LateEvents(database).without(await taken(broker_url, routing.PROJECTOR_QUEUE))
    await EventStore(database).append(events)

    assert events == [late]
    assert await wavecom("retention") == "removed: 3 events, 1 sent"
    await HeldWork(database).report("projector", {routing.PROJECTOR_QUEUE: NOW_MS})
    with pytest.raises(Unavailable, match="a projector holds events that it has not stored yet"):
        await wavecom("retention")


@pytest.mark.parametrize("days", ["0.99", "0.00006"])
@pytest.mark.parametrize("status", ["SENT", "FAILED"])
async def test_less_than_a_day_is_refused(monkeypatch: pytest.MonkeyPatch, status: str, days: str) -> None:
    monkeypatch.setenv(f"WAVECOM_RETENTION_{status}_DAYS", days)
    refusal = f"WAVECOM_RETENTION_{status}_DAYS: .*0, which is never, or at least 1"
    with pytest.raises(ConfigurationError, match=refusal):
        await wavecom("retention")


async def test_zero_days_are_for_ever(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVECOM_RETENTION_SENT_DAYS", "0")
    monkeypatch.setenv("WAVECOM_RETENTION_FAILED_DAYS", "0")
    await a_sent_one(database)

    assert await wavecom("retention", "--dry-run") == "notifications are kept for ever"
    assert await wavecom("retention") == "removed: nothing"
