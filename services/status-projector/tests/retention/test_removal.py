"""Removing what is old, on a real database: whole notifications, and nothing else."""

import asyncio
from collections.abc import Collection, Sequence
from time import perf_counter
from typing import Any

import pytest
from status_projector.model.live_model import LiveModel
from status_projector.model.read_model import ReadModel
from status_projector.projector import Projector
from status_projector.recovery import missing_events
from status_projector.recovery.checker import Checker
from status_projector.retention.late_events import LateEvents
from status_projector.retention.policy import DAY_MS, Periods
from status_projector.retention.removal import WALKS, Retention
from status_projector.store import maintenance as maintenance_module
from status_projector.store.event_store import EventStore
from status_projector.store.maintenance import Maintenance
from wavecom_common.events import routing, types
from wavecom_common.events.payloads import Payload, refer
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.kernel.ids import new_notification_id
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.storage import indexes, names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import DatetimeMS
from wavecom_common.storage.payloads import Payloads
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

pytestmark = pytest.mark.connected

PERIODS = Periods.of_days(sent=30, failed=60)


@pytest.fixture
async def store(database: Database) -> Database:
    await indexes.apply(database)
    return database


async def all_stored() -> None:
    """No event waits to be stored."""


def a_retention(database: Database, periods: Periods = PERIODS, **more: Any) -> Retention:
    return Retention(database, periods, **{"owner": "test", "rest": 0, "require_all_stored": all_stored, **more})


def requested(days_ago: float, *, payload_id: str = "") -> Event:
    now_ms = SYSTEM_CLOCK.now_ms() - round(days_ago * DAY_MS)
    request = a_request(notification_id=new_notification_id(now_ms), now_ms=now_ms)
    if payload_id:
        refer(request.content, payload_id)
    return request


def ended(request: Event, end: str | None, *, days_later: float = 0) -> list[Event]:
    """Its history: sent, failed, or without an end."""
    at_ms = request.occurred_at_ms + round(days_later * DAY_MS)
    order = types.dispatched(request, attempt=1, now_ms=request.occurred_at_ms)
    events = [request, order, types.started(order, provider="simulated", now_ms=at_ms)]
    if end == types.SENT:
        return [*events, types.sent(order, provider="simulated", provider_message_id="", now_ms=at_ms)]
    if end == types.FAILED:
        return [*events, types.failed(order, error="no", reason=types.PERMANENT, now_ms=at_ms)]
    return events


async def project(database: Database, events: Sequence[Event], *, late: LateEvents | None = None) -> None:
    projector = Projector(EventStore(database), LiveModel(database), max_events=1000, linger_s=0, late=late)
    await projector(Incoming(routing.PROJECTOR_QUEUE, "m", list(events), asyncio.Event()))


async def left(database: Database) -> set[str]:
    """The notifications that are left, in the store and in the model alike."""
    in_store = {history[0] async for history in EventStore(database).histories()}
    in_model = {notification_id async for notification_id, _ in ReadModel(database).documents()}
    assert in_store == in_model
    return in_store


async def test_each_status_is_kept_for_its_time_and_what_has_no_end_for_ever(store: Database) -> None:
    gone = [ended(requested(31), types.SENT), ended(requested(61), types.FAILED)]
    kept = [
        ended(requested(29), types.SENT),
        ended(requested(59), types.FAILED),
        ended(requested(400), None),
        # Accepted long ago, and ended lately.
        ended(requested(400), types.SENT, days_later=399),
    ]
    await project(store, [event for history in [*gone, *kept] for event in history])

    removed = await a_retention(store).run()

    assert removed == {"sent": 1, "failed": 1, "events": 8}
    assert await left(store) == {history[0].notification_id for history in kept}
    report = await Checker(EventStore(store), ReadModel(store), settle_s=0).run()
    assert (report.differing, report.open) == (0, 1)
    assert await a_retention(store).run() == {}


async def test_what_had_no_end_when_the_walk_came_by_is_removed_when_its_time_is_over(store: Database) -> None:
    open_history, other = ended(requested(40), None), ended(requested(35), types.SENT)
    await project(store, [*open_history, *other])
    await a_retention(store).run()
    assert await left(store) == {open_history[0].notification_id}
    order = open_history[1]

    await project(store, [types.sent(order, provider="p", provider_message_id="", now_ms=order.occurred_at_ms)])

    assert await a_retention(store).run() == {"sent": 1, "events": 4}
    assert await left(store) == set()


async def test_zero_days_are_for_ever(store: Database) -> None:
    sent, failed = ended(requested(4000), types.SENT), ended(requested(4000), types.FAILED)
    await project(store, [*sent, *failed])

    assert await a_retention(store, Periods.of_days(sent=0, failed=0)).run() == {}
    assert await a_retention(store, Periods.of_days(sent=0, failed=1)).run() == {"failed": 1, "events": 4}
    assert await left(store) == {sent[0].notification_id}


async def test_thousands_are_removed_in_pages_and_a_dry_run_counts_them_before(store: Database) -> None:
    histories = [ended(requested(40), types.SENT) for _ in range(1200)]
    for start in range(0, 1200, 200):
        await project(store, [event for history in histories[start : start + 200] for event in history])
    counted = [counts async for _, counts in a_retention(store).due()]

    assert sum(counts["remove"] for counts in counted) == 1200
    assert await a_retention(store).run() == {"sent": 1200, "events": 4800}


class Killed(Exception):
    pass


@pytest.mark.parametrize("writes", range(6))
async def test_killed_between_any_two_of_its_writes_it_leaves_nothing_that_goes_on_and_ends_the_next_time(
    store: Database, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    histories = [ended(requested(40, payload_id="letter"), types.SENT) for _ in range(3)]
    await project(store, [event for history in histories for event in history])
    await Payloads(store).store({"letter": Payload("x")}, timeout_s=5)
    await aged(store, "letter")
    left_writes = writes
    collection = type(store.collection("any"))
    real = collection.delete_many
    note = Maintenance.note_progress

    def delete_many(self: Any, *args: Any, **kwargs: Any) -> Any:
        die()
        return real(self, *args, **kwargs)

    async def note_progress(self: Maintenance, *args: Any) -> None:
        die()
        await note(self, *args)

    def die() -> None:
        nonlocal left_writes
        if left_writes == 0:
            raise Killed
        left_writes -= 1

    monkeypatch.setattr(collection, "delete_many", delete_many)
    monkeypatch.setattr(Maintenance, "note_progress", note_progress)
    with pytest.raises(Killed):
        await a_retention(store).run()
    monkeypatch.undo()

    async for _, events in EventStore(store).histories():
        assert missing_events.missing(events, SYSTEM_CLOCK.now_ms()) is None
        assert not missing_events.is_lost(events)
    await a_retention(store).run()
    assert await left(store) == set()
    assert await store.collection(names.PAYLOADS).count_documents({}) == 0


async def aged(database: Database, *payload_ids: str, days: float = 8) -> None:
    await database.collection(names.PAYLOADS).update_many(
        {"_id": {"$in": list(payload_ids)}},
        {"$set": {"storedAt": DatetimeMS(SYSTEM_CLOCK.now_ms() - round(days * DAY_MS))}},
    )


async def test_a_payload_goes_with_the_last_event_that_names_it(store: Database) -> None:
    payload = Payload("x")
    await Payloads(store).store(dict.fromkeys(["alone", "shared", "again", "never", "young"], payload), timeout_s=5)
    await aged(store, "alone", "shared", "again", "never")
    old = [ended(requested(40, payload_id=name), types.SENT) for name in ("alone", "shared", "again")]
    young = ended(requested(1, payload_id="shared"), types.SENT)
    await project(store, [event for history in [*old, young] for event in history])
    # A client posts the letter once more; its event is not stored yet.
    await Payloads(store).store({"again": payload}, timeout_s=5)

    removed = await a_retention(store).run()

    assert removed["payloads"] == 2
    found = await store.collection(names.PAYLOADS).distinct("_id")
    assert set(found) == {"shared", "again", "young"}


async def test_a_payload_stored_again_is_renewed_once_a_day(store: Database) -> None:
    payloads = Payloads(store)
    await payloads.store({"one": Payload("x"), "other": Payload("x")}, timeout_s=5)
    await aged(store, "one", days=2)
    await aged(store, "other", days=0.5)
    before_ms = SYSTEM_CLOCK.now_ms() - round(0.25 * DAY_MS)

    await payloads.store({"one": Payload("x"), "other": Payload("x")}, timeout_s=5)

    assert [name for _, name in await payloads.stored_before(before_ms, after=(0, ""), limit=9)] == ["other"]


async def test_what_comes_late_for_a_removed_notification_is_left_out(store: Database) -> None:
    removed, kept = ended(requested(40), types.SENT), ended(requested(40), None)
    await project(store, [*removed, *kept])
    await a_retention(store).run()
    order = kept[1]
    late = [*removed, types.retry_scheduled(order, error="busy", delay_ms=5, now_ms=order.occurred_at_ms)]

    await project(store, late, late=LateEvents(store))

    assert await left(store) == {kept[0].notification_id}
    assert len((await EventStore(store).histories_of([kept[0].notification_id]))[kept[0].notification_id]) == 4


async def test_what_comes_late_is_left_out_from_the_first_removal_on(store: Database) -> None:
    removed, young = ended(requested(40), types.SENT), ended(requested(0.5), None)
    late = LateEvents(store)
    await project(store, removed, late=late)
    await a_retention(store).run()

    await project(store, [*removed, *young], late=late)

    assert await left(store) == {young[0].notification_id}


async def test_the_database_is_not_asked_about_what_is_young(store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def removed_before(self: Maintenance, walks: Collection[str]) -> str:
        raise KeyError("asked")

    monkeypatch.setattr(Maintenance, "removed_before", removed_before)
    events = [requested(0.99)]

    assert await LateEvents(store).without(events) == events
    with pytest.raises(KeyError, match="asked"):
        await LateEvents(store).without([*events, requested(1.01)])


async def test_nothing_counts_as_late_where_nothing_was_ever_removed(store: Database) -> None:
    old = ended(requested(4000), types.SENT)

    await project(store, old, late=LateEvents(store))

    assert await left(store) == {old[0].notification_id}


async def test_both_collections_of_a_read_model_being_rebuilt_lose_it(store: Database) -> None:
    history = ended(requested(40), types.SENT)
    await store.collection(names.POINTER).insert_one(
        {"_id": "pointer", "live": names.NOTIFICATIONS, "phase": "kept", "builtUpTo": "", "revision": 1}
    )
    await project(store, history)
    assert await store.collection(names.READ_MODELS[1]).count_documents({}) == 1

    await a_retention(store).run()

    assert [await store.collection(name).count_documents({}) for name in names.READ_MODELS] == [0, 0]


async def test_one_works_at_a_time_and_nothing_is_removed_while_a_rebuild_or_a_recovery_runs(store: Database) -> None:
    await project(store, ended(requested(40), types.SENT))
    maintenance = Maintenance(store)

    async with maintenance.alone("wavecom rebuild"):
        assert await a_retention(store).run() == {}
        assert not await maintenance.take_lease("another")
        assert len(await left(store)) == 1

    assert await a_retention(store).run() == {"sent": 1, "events": 4}


async def test_another_gets_no_turn_while_a_step_lasts_longer_than_its_lease(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await project(store, ended(requested(40), types.SENT))
    monkeypatch.setattr(maintenance_module, "LEASE_S", 1.2)
    turns: list[bool] = []
    removal = EventStore.remove

    async def remove(self: EventStore, notification_ids: Collection[str]) -> int:
        began_s = perf_counter()
        while perf_counter() - began_s < 3:
            turns.append(await Maintenance(store).take_lease("wavecom recover"))
        return await removal(self, notification_ids)

    monkeypatch.setattr(EventStore, "remove", remove)

    assert await a_retention(store).run() == {"sent": 1, "events": 4}
    assert len(turns) > 1
    assert not any(turns)


@pytest.mark.parametrize("renewal", ["is refused", "fails"])
async def test_a_step_whose_lease_is_not_renewed_is_stopped_and_the_next_ends_it(
    store: Database, monkeypatch: pytest.MonkeyPatch, renewal: str
) -> None:
    await project(store, ended(requested(40), types.SENT))
    monkeypatch.setattr(maintenance_module, "LEASE_S", 1.2)
    take, removal = Maintenance.take_lease, ReadModel.remove
    taken: list[str] = []

    async def take_lease(self: Maintenance, owner: str) -> bool:
        taken.append(owner)
        if len(taken) > 1 and renewal == "fails":
            raise Unavailable("database: away")
        return len(taken) == 1 and await take(self, owner)

    async def remove(self: ReadModel, notification_ids: Collection[str]) -> None:
        # Longer than any lease.
        await asyncio.Event().wait()

    monkeypatch.setattr(Maintenance, "take_lease", take_lease)
    monkeypatch.setattr(ReadModel, "remove", remove)
    with pytest.raises(Unavailable, match="the lease of test could not be renewed"):
        await a_retention(store).run()
    monkeypatch.setattr(Maintenance, "take_lease", take)
    monkeypatch.setattr(ReadModel, "remove", removal)

    assert await a_retention(store).run() == {"sent": 1, "events": 0}
    assert await left(store) == set()


async def test_an_operator_waits_for_a_turn_and_no_step_under_way_overwrites_a_walk_begun_anew(store: Database) -> None:
    await project(store, ended(requested(40), types.SENT))
    async with asyncio.TaskGroup() as tasks, Maintenance(store).alone("wavecom rebuild"):
        removal = tasks.create_task(a_retention(store).run(waits=True))
        anew = tasks.create_task(a_retention(store, owner="other").begin_anew())
        assert await a_retention(store, owner="projector").run() == {}
        assert not removal.done()
        assert not anew.done()

    assert removal.result() == {"sent": 1, "events": 4}


async def test_nothing_is_removed_while_events_wait_to_be_stored(store: Database) -> None:
    await project(store, ended(requested(40), types.SENT))

    async def some_wait() -> None:
        raise Unavailable("queue status-projector.events holds 3 messages")

    with pytest.raises(Unavailable, match="holds 3 messages"):
        await a_retention(store, require_all_stored=some_wait).run()
    assert await Maintenance(store).removed_before(WALKS) == ""
    assert len(await left(store)) == 1


async def test_it_begins_by_itself_rests_between_steps_and_stops_when_it_is_told_to(store: Database) -> None:
    await project(store, ended(requested(40), types.SENT))
    retention = a_retention(store, interval_s=0.05, rest=1)
    await retention.start()
    assert retention.ready() is None

    async def nothing_is_left() -> bool:
        return not await left(store)

    await eventually(nothing_is_left)
    await retention.drain()
    await retention.close()


async def test_a_database_that_is_away_is_waited_for(store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await project(store, ended(requested(40), types.SENT))
    answers = iter([Unavailable("database: away")])
    real = Maintenance.take_lease

    async def take_lease(self: Maintenance, owner: str) -> bool:
        if (error := next(answers, None)) is not None:
            raise error
        return await real(self, owner)

    monkeypatch.setattr(Maintenance, "take_lease", take_lease)
    retention = a_retention(store, interval_s=0.05, rest=1)
    await retention.start()

    async def nothing_is_left() -> bool:
        return not await left(store)

    await eventually(nothing_is_left)
    await retention.close()


async def test_the_events_of_a_page_are_found_by_the_index_alone(store: Database) -> None:
    histories = [ended(requested(40), types.SENT) for _ in range(50)]
    await project(store, [event for history in histories for event in history])
    ids = sorted(history[0].notification_id for history in histories)

    between = {"_id": {"$gte": f"{ids[0]}:", "$lt": f"{ids[-1]};"}}
    explained = await store.collection(names.EVENTS).find(between, {"_id": 1}, hint=[("_id", 1)]).explain()
    named = {"content.payloadId": {"$in": ["none"], "$gt": ""}}
    looked_up = await store.collection(names.EVENTS).find(named).explain()

    assert explained["executionStats"]["totalDocsExamined"] == 0
    assert looked_up["executionStats"]["totalDocsExamined"] == 0
    assert looked_up["executionStats"]["totalKeysExamined"] <= 1
