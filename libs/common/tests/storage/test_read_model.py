"""Facts are joined in the database as they are in memory."""

import asyncio

import pytest
from wavecom_common.events.channels import CHANNELS
from wavecom_common.kernel.errors import Unstorable
from wavecom_common.kernel.ids import new_notification_id
from wavecom_common.storage import facts_document, names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import ObjectId
from wavecom_common.storage.facts import (
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
from wavecom_common.storage.read_model import Filters, ReadModel

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


@pytest.mark.parametrize("channel", [None, "email", "push"])
@pytest.mark.parametrize("status", [None, QUEUED, FAILED])
async def test_no_listing_reads_more_than_its_page(database: Database, status: str | None, channel: str | None) -> None:
    # The newest are of one kind, the others of rare ones: an index that is not sorted for the filter has to pass them.
    kinds = [("email", SENT)] * 200 + [("push", FAILED), ("push", QUEUED), ("email", FAILED), ("email", QUEUED)] * 10
    facts = {
        new_notification_id(START_MS): Facts(
            Head(0, 0, 0, kind), START_MS, request=_request(channel=narrow, created_at_ms=START_MS - age)
        )
        for age, (narrow, kind) in enumerate(kinds)
    }
    await ReadModel(database).merge(facts)
    query = Filters("default", status=status, channel=channel).query()

    explained = (
        await database.collection(names.NOTIFICATIONS)
        .find(query, sort=[("createdAt", -1), ("_id", -1)], limit=5)
        .explain()
    )

    assert explained["executionStats"]["nReturned"] == 5
    assert explained["executionStats"]["totalKeysExamined"] <= 5 + len(CHANNELS) * len(STATUSES)


async def test_many_writers_of_the_same_notifications_all_get_their_facts_in(database: Database) -> None:
    read_model = ReadModel(database)
    ids = [new_notification_id(START_MS) for _ in range(20)]
    writers = [
        {nid: Facts(Head(0, attempt, 2, PROCESSING), START_MS + attempt, request=_request()) for nid in ids}
        for attempt in range(1, 17)
    ]

    await asyncio.gather(*[read_model.merge(facts) for facts in writers])

    assert {nid: facts async for nid, facts in read_model.stream(page=7)} == writers[-1]


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
