"""Idempotency keys on a real database."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from ingest_api.idempotency.keys import IdempotencyKeys, KeyRecord, StoredAnswer
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.storage import indexes
from wavecom_common.storage.client import Database
from wavecom_common.storage.names import IDEMPOTENCY_KEYS

pytestmark = pytest.mark.connected

DAY_MS = 24 * 3600 * 1000
ANSWER = StoredAnswer(201, b'{"status":"success"}')


def a_record(number: int = 0, fingerprint: str = "f") -> KeyRecord:
    return KeyRecord(fingerprint, [f"675a1b2c3d4e5f60718{number:05}"], SYSTEM_CLOCK.now_ms())


@pytest.fixture
async def database(mongodb_url: str, database_name: str) -> AsyncIterator[Database]:
    database = Database(mongodb_url, database_name)
    await indexes.apply(database)
    yield database
    await database.close()


@pytest.fixture
def keys(database: Database) -> IdempotencyKeys:
    return IdempotencyKeys(database, keep_ms=DAY_MS, timeout_s=5)


async def test_the_first_to_reserve_a_key_has_it_and_all_others_see_its_record(keys: IdempotencyKeys):
    first = a_record(1)

    assert await keys.reserve("key", first) is None
    assert await keys.reserve("key", a_record(2)) == first
    assert await keys.reserve("other", a_record(3)) is None


async def test_a_completed_key_gives_its_answer(keys: IdempotencyKeys):
    record = a_record()
    await keys.reserve("key", record)
    assert await keys.complete("key", record, ANSWER) is None

    assert await keys.reserve("key", a_record(2)) == replace(record, answer=ANSWER)


async def test_a_withdrawn_key_is_not_completed_by_who_does_not_know_of_it(keys: IdempotencyKeys):
    record = a_record()
    await keys.reserve("key", record)
    withdrawn = await keys.withdraw("key", record)

    assert withdrawn == replace(record, withdrawn=True)
    assert await keys.complete("key", record, ANSWER) == withdrawn
    assert await keys.complete("key", withdrawn, ANSWER) is None
    assert await keys.withdraw("key", record) == replace(withdrawn, answer=ANSWER)


async def test_a_completed_key_is_neither_withdrawn_nor_renewed_nor_answered_otherwise(keys: IdempotencyKeys):
    record, other = a_record(), StoredAnswer(207, b"{}")
    await keys.reserve("key", record)
    await keys.complete("key", record, ANSWER)
    completed = replace(record, answer=ANSWER)

    assert await keys.withdraw("key", record) == completed
    assert await keys.renew("key", record, a_record(2)) == completed
    assert await keys.complete("key", record, other) == completed
    # Its own answer's storing was not heard of.
    assert await keys.complete("key", record, ANSWER) is None


async def test_a_withdrawn_key_is_renewed_once_and_its_old_ids_are_not_answered(keys: IdempotencyKeys):
    old, new = a_record(1), a_record(2)
    await keys.reserve("key", old)
    assert await keys.renew("key", old, new) == old
    withdrawn = await keys.withdraw("key", old)
    assert withdrawn is not None

    assert await keys.renew("key", withdrawn, new) == new
    assert await keys.renew("key", withdrawn, a_record(3)) == new
    assert await keys.complete("key", old, ANSWER) == new
    assert await keys.withdraw("key", old) == new
    assert await keys.complete("key", new, ANSWER) is None


async def test_completions_that_share_a_write_each_hear_of_their_own(keys: IdempotencyKeys):
    records = [a_record(number) for number in range(20)]
    for number, record in enumerate(records):
        await keys.reserve(f"key-{number}", record)
    withdrawn = await keys.withdraw("key-7", records[7])

    found = await asyncio.gather(
        *[keys.complete(f"key-{number}", record, ANSWER) for number, record in enumerate(records)]
    )

    assert found == [None] * 7 + [withdrawn] + [None] * 12


async def test_a_key_that_has_expired_is_neither_completed_nor_withdrawn(keys: IdempotencyKeys):
    record = a_record()

    assert await keys.complete("key", record, ANSWER) == record
    assert await keys.withdraw("key", record) is None
    assert await keys.renew("key", record, a_record(2)) is None


async def test_a_record_of_an_earlier_version_is_open(database: Database, keys: IdempotencyKeys):
    record = a_record()
    await keys.reserve("key", record)
    await database.collection(IDEMPOTENCY_KEYS).update_one({"_id": "key"}, {"$unset": {"withdrawn": ""}})

    assert await keys.withdraw("key", record) == replace(record, withdrawn=True)


async def test_of_many_who_reserve_a_key_at_once_over_several_links_one_is_the_first(
    mongodb_url: str, database: Database
):
    links = [Database(mongodb_url, database.name) for _ in range(3)]
    stores = [IdempotencyKeys(link, keep_ms=DAY_MS, timeout_s=20) for link in links]

    records = [a_record(number) for number in range(300)]
    found = await asyncio.gather(*[stores[number % 3].reserve("key", record) for number, record in enumerate(records)])

    [first] = [record for record, other in zip(records, found, strict=True) if other is None]
    assert [other for other in found if other is not None] == [first] * 299
    for link in links:
        await link.close()


async def test_a_key_is_forgotten_when_its_time_is_over(database: Database, keys: IdempotencyKeys):
    await keys.reserve("key", a_record())

    [document] = await database.collection(IDEMPOTENCY_KEYS).find({}).to_list(None)
    indexes = await database.collection(IDEMPOTENCY_KEYS).index_information()
    assert int(document["expiresAt"]) - int(document["acceptedAt"]) == DAY_MS
    assert indexes["expiresAt_1"]["expireAfterSeconds"] == 0


async def test_a_key_that_expires_in_the_moment_it_is_found_is_nobodys(keys: IdempotencyKeys, monkeypatch):
    await keys.reserve("key", a_record(1))

    async def nothing(_: IdempotencyKeys, __: set[str]) -> dict[str, KeyRecord]:
        return {}

    with monkeypatch.context() as gone:
        gone.setattr(IdempotencyKeys, "_find", nothing)
        reserved = await asyncio.gather(
            keys.reserve("key", a_record(2)), keys.reserve("other", a_record(3)), return_exceptions=True
        )

    assert isinstance(reserved[0], Unavailable)
    assert reserved[1] is None


@pytest.mark.parametrize("call", ["reserve", "complete", "withdraw", "renew"])
async def test_without_a_database_the_caller_hears_of_it_in_time(unused_tcp_port: int, call: str):
    nowhere = Database(f"mongodb://127.0.0.1:{unused_tcp_port}/?directConnection=true", "x")
    keys = IdempotencyKeys(nowhere, keep_ms=DAY_MS, timeout_s=0.2)
    record = a_record()
    arguments = {"reserve": [], "complete": [ANSWER], "withdraw": [], "renew": [record]}

    # The driver itself would wait longer.
    async with asyncio.timeout(2):
        with pytest.raises(Unavailable):
            await getattr(keys, call)("key", record, *arguments[call])
    await nowhere.close()
