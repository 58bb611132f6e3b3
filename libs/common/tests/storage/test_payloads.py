"""Payloads are stored once and come back as they were."""

import pytest
from wavecom_common.events.payloads import Payload
from wavecom_common.storage import names
from wavecom_common.storage.client import Database
from wavecom_common.storage.payloads import Payloads

pytestmark = pytest.mark.connected


async def test_a_payload_comes_back_as_it_was_however_often_it_is_stored(database: Database) -> None:
    payloads = Payloads(database)
    one, other = Payload("$ 5 is due " + "x" * 65_536, "$subject", '{"$set":{"a.b":1}}'), Payload("other")

    await payloads.store({"one": one}, timeout_s=5)
    await payloads.store({"one": one, "other": other}, timeout_s=5)

    assert await payloads.load(["one", "other", "none"]) == {"one": one, "other": other}
    assert await payloads.load([]) == {}
    assert await database.collection(names.PAYLOADS).count_documents({}) == 2
