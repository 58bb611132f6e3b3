"""Idempotency keys on a real database."""

import asyncio
from dataclasses import replace

import pytest
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.storage.client import Database
from wavecom_common.storage.idempotency import IdempotencyKeys, KeyRecord, StoredAnswer
from wavecom_common.storage.names import IDEMPOTENCY_KEYS

pytestmark = pytest.mark.connected

DAY_MS = 24 * 3600 * 1000
ANSWER = StoredAnswer(201, b'{"status":"success"}')


def a_record(number: int = 0, fingerprint: str = "f") -> KeyRecord:
    return KeyRecord(fingerprint, [f"675a1b2c3d4e5f60718{number:05}"], SYSTEM_CLOCK.now_ms())


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
    await keys.complete("key", ANSWER)

    assert await keys.reserve("key", a_record(2)) == replace(record, answer=ANSWER)


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


async def test_without_a_database_a_key_is_not_reserved_and_the_caller_hears_of_it_in_time(unused_tcp_port: int):
    nowhere = Database(f"mongodb://127.0.0.1:{unused_tcp_port}/?directConnection=true", "x")
    keys = IdempotencyKeys(nowhere, keep_ms=DAY_MS, timeout_s=0.2)

    with pytest.raises(Unavailable):
        await keys.reserve("key", a_record())
    with pytest.raises(Unavailable):
        await keys.complete("key", ANSWER)
    await nowhere.close()
