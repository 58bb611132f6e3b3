"""Facts are joined in the database as they are in memory."""

import asyncio
import itertools
from typing import Any

import pytest
from status_projector.model import facts_document
from status_projector.model.facts import (
    FAILED,
    PROCESSING,
    QUEUED,
    SENT,
    STATUSES,
    Facts,
    Head,
    LastAttempt,
    LastError,
    Request,
)
from status_projector.model.read_model import Filters, Order, Place, ReadModel
from wavecom_common.events.channels import CHANNELS
from wavecom_common.kernel.errors import Unavailable, Unstorable
from wavecom_common.kernel.ids import new_notification_id
from wavecom_common.storage import names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import Document, ObjectId, UpdateOne

pytestmark = pytest.mark.connected

START_MS = 1_700_000_000_000


async def test_facts_come_back_as_they_went_in(database: Database) -> None:
    read_model, nid = ReadModel(database), new_notification_id(START_MS)
    facts = Facts(
        head=Head(1, 2, 5, FAILED),
        updated_at_ms=START_MS + 9,
        last_attempt=LastAttempt(2, 1, START_MS + 7),
        last_error=LastError(2, 1, "$error"),
        sent_at_ms=None,
        failed_at_ms=START_MS + 8,
        request=_request(metadata={"$set": {"a.b": 1}, "": [None, 1.5, -(2**63)], "r": {"$ref": "a", "$id": {"x": 1}}}),
    )

    await read_model.merge({nid: facts})

    assert await read_model.get("default", nid) == facts
    stored = await database.collection(names.NOTIFICATIONS).find_one({"_id": ObjectId(nid)}, {"_id": 0, "metadata": 0})
    expected = facts_document.document(facts)
    del expected["metadata"]
    assert stored == expected


async def test_a_notification_is_not_shown_before_its_request_is_known(database: Database) -> None:
    read_model, nid = ReadModel(database), new_notification_id(START_MS)
    await read_model.merge({nid: Facts(Head(2, 1, 5, SENT), START_MS, sent_at_ms=START_MS)})

    assert await read_model.get("default", nid) is None
    assert await read_model.count(Filters("default")) == 0

    await read_model.merge({nid: Facts(Head(0, 0, 0, QUEUED), START_MS, request=_request())})

    shown = await read_model.get("default", nid)
    assert shown is not None
    assert shown.head.status == SENT


async def test_a_tenant_sees_only_its_own(database: Database) -> None:
    read_model, nid = ReadModel(database), new_notification_id(START_MS)
    await read_model.merge({nid: Facts(Head(0, 0, 0, QUEUED), START_MS, request=_request())})

    assert await read_model.get("another", nid) is None
    assert await read_model.list(Filters("another"), skip=0, limit=10) == []


async def test_a_listing_is_newest_first_filtered_paged_and_without_content(database: Database) -> None:
    read_model = ReadModel(database)
    ids = [new_notification_id(START_MS) for _ in range(12)]
    await read_model.merge(
        {
            nid: Facts(
                Head(0, 1, 2, PROCESSING) if place % 2 else Head(0, 0, 0, QUEUED),
                START_MS,
                request=_request(channel=("email", "sms", "push")[place % 3], created_at_ms=START_MS + place // 2),
            )
            for place, nid in enumerate(ids)
        }
    )
    newest_first = ids[::-1]

    everything = await read_model.list(Filters("default"), skip=0, limit=100)
    assert [nid for nid, _ in everything] == newest_first
    assert all(facts.request is not None and facts.request.message == "" for _, facts in everything)
    second_page = await read_model.list(Filters("default"), skip=5, limit=5)
    assert [nid for nid, _ in second_page] == newest_first[5:10]
    narrowed = Filters("default", status=PROCESSING, channel="sms")
    assert [nid for nid, _ in await read_model.list(narrowed, skip=0, limit=5)] == [ids[7], ids[1]]
    assert await read_model.count(narrowed) == 2


async def test_a_listing_goes_on_behind_a_place_also_among_those_of_one_millisecond(database: Database) -> None:
    read_model = ReadModel(database)
    ids = [new_notification_id(START_MS) for _ in range(10)]
    times_ms = [START_MS, *[START_MS + 1] * 8, START_MS + 2]
    await read_model.merge(
        {
            nid: Facts(Head(0, 0, 0, QUEUED), START_MS, request=_request(created_at_ms=created_at_ms))
            for nid, created_at_ms in zip(ids, times_ms, strict=True)
        }
    )

    for filters in (Filters("default"), Filters("default", status=QUEUED), Filters("default", channel="email")):
        seen, after = list[str](), None
        while page := await read_model.list(filters, limit=3, after=after):
            seen += [nid for nid, _ in page]
            after = Place(times_ms[ids.index(seen[-1])], seen[-1])
        assert seen == ids[::-1]


async def test_no_listing_reads_more_than_it_returns(database: Database) -> None:
    # The newest are of one kind, the others of rare ones: an index that is not sorted for the filter has to pass them.
    kinds = [("sms", SENT)] * 2500 + list(itertools.product(CHANNELS, STATUSES)) * 40
    # Five hundred of a call have one time.
    ages = {new_notification_id(START_MS): age // 500 for age in range(len(kinds))}
    facts = {
        nid: Facts(Head(0, 0, 0, kind), START_MS, request=_request(channel=narrow, created_at_ms=START_MS - age))
        for (nid, age), (narrow, kind) in zip(ages.items(), kinds, strict=True)
    }
    await ReadModel(database).merge(facts)
    middle = list(ages)[2600]
    for channel, status in itertools.product([None, *CHANNELS], [None, *STATUSES]):
        filters = Filters("default", status=status, channel=channel)
        for after in (None, Place(START_MS - ages[middle], middle)):
            for query, order in filters.ranges(after):
                found = await _explained(database, query, order)
                most = found["nReturned"] + len(CHANNELS) * len(STATUSES)
                assert found["totalKeysExamined"] <= most, (query, found)
                assert found["totalDocsExamined"] <= most, (query, found)
                assert not _stages(found["executionStages"]) & {"SORT", "COLLSCAN"}, (query, found)


@pytest.mark.parametrize("filters", [Filters("default"), Filters("default", channel="sms", status=SENT)], ids=str)
async def test_a_page_by_its_number_passes_the_others_in_the_index(database: Database, filters: Filters) -> None:
    request = _request(channel="sms")
    await ReadModel(database).merge(
        {new_notification_id(START_MS): Facts(Head(0, 0, 0, SENT), START_MS, request=request) for _ in range(50)}
    )
    passed = database.collection(names.NOTIFICATIONS).find(
        filters.query(), {"createdAt": 1}, sort=[("createdAt", -1), ("_id", -1)], skip=40, limit=1
    )

    assert (await passed.explain())["executionStats"]["totalDocsExamined"] == 0
    assert len(await ReadModel(database).list(filters, skip=41, limit=20)) == 9
    assert await ReadModel(database).list(filters, skip=51, limit=20) == []


async def test_a_count_has_a_bound(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("status_projector.model.read_model.MAX_COUNTED", 3)
    read_model = ReadModel(database)
    for count in (3, 4, 4):
        facts = Facts(Head(0, 0, 0, QUEUED), START_MS, request=_request())
        known = {new_notification_id(START_MS): facts for _ in range(3 if count == 3 else 1)}
        await read_model.merge(known)
        assert await read_model.count(Filters("default", status=QUEUED)) == count


async def test_many_writers_of_the_same_notifications_all_get_their_facts_in(database: Database) -> None:
    read_model = ReadModel(database)
    ids = [new_notification_id(START_MS) for _ in range(20)]
    writers = [
        {nid: Facts(Head(0, attempt, 2, PROCESSING), START_MS + attempt, request=_request()) for nid in ids}
        for attempt in range(1, 17)
    ]

    await asyncio.gather(*[read_model.merge(facts) for facts in writers])

    assert {nid: facts async for nid, facts in read_model.stream(page=7)} == writers[-1]


@pytest.mark.parametrize("lost", [1, 2])
async def test_facts_that_lost_the_race_to_be_the_first_are_joined_to_those_that_won(
    database: Database, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """So many times another writer inserts the notification in the moment of the write."""
    read_model, other = ReadModel(database), ReadModel(database)
    first, second = (new_notification_id(START_MS) for _ in range(2))
    real, races = ReadModel._write, list(range(lost))

    async def racing(model: ReadModel, operations: list[UpdateOne]) -> list[UpdateOne]:
        if model is read_model and races:
            races.pop()
            await other.merge({first: Facts(Head(0, 1, 2, PROCESSING), START_MS)})
            # What the database answers to an upsert whose document was inserted meanwhile.
            return [operations[0], *await real(model, operations[1:])] if len(operations) > 1 else operations
        return await real(model, operations)

    monkeypatch.setattr(ReadModel, "_write", racing)
    await read_model.merge({one: Facts(Head(0, 2, 1, QUEUED), START_MS + 1) for one in (first, second)})

    heads = {one: facts.head async for one, facts in read_model.stream()}
    assert heads == {first: Head(0, 2, 1, QUEUED), second: Head(0, 2, 1, QUEUED)}


async def test_a_race_that_is_lost_for_ever_can_be_tried_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def always(_: ReadModel, operations: list[UpdateOne]) -> list[UpdateOne]:
        return operations

    monkeypatch.setattr(ReadModel, "_write", always)
    with pytest.raises(Unavailable):
        await ReadModel(database).merge({new_notification_id(START_MS): Facts(Head(0, 2, 1, QUEUED), START_MS)})


async def test_a_walk_over_all_documents_can_be_taken_up_again(database: Database) -> None:
    read_model = ReadModel(database)
    ids = [new_notification_id(START_MS) for _ in range(7)]
    await read_model.merge({nid: Facts(Head(0, 1, 1, QUEUED), START_MS) for nid in ids})

    assert [nid async for nid, _ in read_model.stream(page=3)] == ids
    assert [nid async for nid, _ in read_model.stream(after=ids[4], page=3)] == ids[5:]


@pytest.mark.parametrize("metadata", [{"n": 2**63}, {"a\0b": 1}, {"deep": None}], ids=["integer", "key", "depth"])
async def test_metadata_that_bson_cannot_hold_is_refused(database: Database, metadata: dict[str, object]) -> None:
    if "deep" in metadata:
        for _ in range(220):
            metadata = {"deep": metadata}

    with pytest.raises(Unstorable):
        await ReadModel(database).merge(
            {new_notification_id(START_MS): Facts(Head(0, 0, 0, QUEUED), START_MS, request=_request(metadata=metadata))}
        )


async def _explained(database: Database, query: Document, order: Order) -> dict[str, Any]:
    explained = await database.collection(names.NOTIFICATIONS).find(query, sort=order, limit=5).explain()
    stats: dict[str, Any] = explained["executionStats"]
    return stats


def _stages(stage: dict[str, Any]) -> set[str]:
    below = [stage["inputStage"]] if "inputStage" in stage else stage.get("inputStages", [])
    return {stage["stage"]}.union(*map(_stages, below))


def _request(
    *, channel: str = "email", created_at_ms: int = START_MS, metadata: dict[str, object] | None = None
) -> Request:
    return Request(
        tenant="default",
        channel=channel,
        priority="medium",
        recipient="$user",
        message="$ 5 is due",
        subject=None,
        metadata=metadata,
        max_attempts=3,
        created_at_ms=created_at_ms,
    )
