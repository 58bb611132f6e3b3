"""The checker finds every way in which the read model is not the fold of the event store, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from status_projector.model.read_model import ReadModel
from status_projector.projector import Projector
from status_projector.recovery.checker import Checker, Report
from status_projector.store.event_store import EventStore
from wavecom_common.events import types
from wavecom_common.kernel.ids import new_notification_id
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.storage import names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import Document, ObjectId
from wavecom_common.testing.builders import NOW_MS, a_dispatch, a_request
from wavecom_proto.v1.events_pb2 import Event

pytestmark = pytest.mark.connected


async def test_what_projectors_wrote_agrees_and_open_notifications_are_counted_apart(database: Database) -> None:
    requests = [a_request() for _ in range(2500)]  # more than two pages
    ends = [_sent(request) for request in requests[10:]]
    await project(database, [*requests, *ends])
    told: list[tuple[int, int]] = []

    report = await Checker(
        EventStore(database), ReadModel(database), told=lambda *counts: told.append(counts), settle_s=0
    ).run()

    assert (report.events, report.notifications) == (4990, 2500)
    assert (report.differing, report.differences) == (0, [])
    assert (report.open, report.oldest_open_id) == (10, requests[0].notification_id)
    assert told[-1] == (4990, 2500)


async def test_an_empty_database_agrees(database: Database) -> None:
    report = await check(database)

    assert (report.events, report.differing, report.open, report.oldest_open_ms) == (0, 0, 0, None)


@pytest.mark.parametrize(
    ("update", "fields"),
    [
        ({"$set": {"head.attempt": 9}}, ["head"]),
        ({"$set": {"metadata": {"n": True}}}, ["metadata"]),
        ({"$set": {"metadata": {"n": 1.0}}}, ["metadata"]),
        ({"$unset": {"lastAttempt": ""}, "$set": {"colour": "blue"}}, ["colour", "lastAttempt"]),
        ({"$set": {"subject": "", "maxAttempts": 4}}, ["maxAttempts", "subject"]),
    ],
    ids=str,
)
async def test_a_field_that_is_not_as_told_is_named(
    database: Database, update: dict[str, Any], fields: list[str]
) -> None:
    request = a_request()
    request.content.metadata_json = '{"n":1}'
    await project(database, [request, _sent(request), a_request()])

    await database.collection(names.NOTIFICATIONS).update_one({"_id": ObjectId(request.notification_id)}, update)

    [difference] = (await check(database)).differences
    assert difference.notification_id == request.notification_id
    assert difference.fields == fields


async def test_what_only_one_side_has_is_found_at_either_end_and_in_between(database: Database) -> None:
    requests = [a_request() for _ in range(5)]
    await project(database, requests)
    ids = [request.notification_id for request in requests]
    for lost in (ids[0], ids[2]):
        await database.collection(names.NOTIFICATIONS).delete_one({"_id": ObjectId(lost)})
    for lost in (ids[1], ids[4]):
        await database.collection(names.EVENTS).delete_many({"nid": lost})

    report = await check(database)

    assert {found.notification_id: list(found.fields) for found in report.differences} == {
        ids[0]: ["not in the read model"],
        ids[1]: ["no event tells of it"],
        ids[2]: ["not in the read model"],
        ids[4]: ["no event tells of it"],
    }


async def test_all_differences_are_counted_and_the_first_ones_kept(database: Database) -> None:
    await project(database, [a_request() for _ in range(30)])
    await database.collection(names.NOTIFICATIONS).update_many({}, {"$set": {"tenant": "another"}})

    report = await Checker(EventStore(database), ReadModel(database), settle_s=0, most_differences=7).run()

    assert (report.differing, len(report.differences)) == (30, 7)


async def test_what_is_only_on_its_way_into_the_model_is_waited_for(database: Database) -> None:
    late = a_request()
    await EventStore(database).append([late])
    checking = asyncio.create_task(Checker(EventStore(database), ReadModel(database), settle_s=30).run())
    await asyncio.wait([checking], timeout=1)
    assert not checking.done()

    await project(database, [late])

    assert (await checking).differing == 0


async def test_what_is_written_between_the_two_readings_is_counted_as_it_is(database: Database) -> None:
    request = a_request()

    class ReadLater(ReadModel):
        async def documents(self, **walk: Any) -> AsyncIterator[tuple[str, Document]]:
            await project(database, [request])
            async for found in super().documents(**walk):
                yield found

    report = await Checker(EventStore(database), ReadLater(database), settle_s=0).run()

    assert (report.events, report.notifications, report.differing, report.open) == (1, 1, 0, 1)
    assert report.oldest_open_id == request.notification_id


async def test_an_event_type_from_the_future_is_no_difference(database: Database) -> None:
    nid = new_notification_id(NOW_MS)
    event = Event(event_id=f"{nid}:1:NotificationOpened", type="NotificationOpened", notification_id=nid, attempt=1)
    await project(database, [event])

    report = await check(database)

    assert (report.events, report.differing, report.open) == (1, 0, 0)


async def check(database: Database) -> Report:
    return await Checker(EventStore(database), ReadModel(database), settle_s=0).run()


async def project(database: Database, events: Sequence[Event]) -> None:
    projector = Projector(EventStore(database), ReadModel(database), max_events=1000, linger_s=0)
    await projector(Incoming("status-projector.events", "m", events, asyncio.Event()))


def _sent(request: Event) -> Event:
    return types.sent(a_dispatch(request=request), provider="simulated", provider_message_id="", now_ms=NOW_MS + 5)
