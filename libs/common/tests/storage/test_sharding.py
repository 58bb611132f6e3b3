"""Collections are spread by keys that every write carries."""

from typing import Any

import pytest
from wavecom_common.kernel.errors import Refused
from wavecom_common.storage import names, sharding
from wavecom_common.storage.client import Database

pytestmark = pytest.mark.connected


class Router(Database):
    """A database whose server takes itself for a router, and remembers what it was told."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(url, name)
        self.told: list[dict[str, Any]] = []

    async def admin_command(self, command: dict[str, Any]) -> dict[str, Any]:
        self.told.append(command)
        return {"ok": 1.0, "msg": "isdbgrid"}


async def test_a_server_without_shards_is_named_and_nothing_is_done(mongodb_url: str, database_name: str) -> None:
    database = Database(mongodb_url, database_name)

    with pytest.raises(Refused, match="no mongos"):
        await sharding.apply(database)

    assert await database.collection(names.EVENTS).index_information() == {}
    await database.close()


async def test_every_collection_that_grows_is_sharded_by_a_hashed_key_with_its_index(
    mongodb_url: str, database_name: str
) -> None:
    router = Router(mongodb_url, database_name)

    for _ in range(2):
        router.told.clear()
        collections = await sharding.apply(router)

    assert router.told == [
        {"hello": 1},
        {"shardCollection": f"{database_name}.events", "key": {"nid": "hashed"}},
        {"shardCollection": f"{database_name}.notifications", "key": {"_id": "hashed"}},
        {"shardCollection": f"{database_name}.notifications_2", "key": {"_id": "hashed"}},
        {"shardCollection": f"{database_name}.deliveries", "key": {"_id": "hashed"}},
        {"shardCollection": f"{database_name}.payloads", "key": {"_id": "hashed"}},
        {"shardCollection": f"{database_name}.idempotency_keys", "key": {"_id": "hashed"}},
    ]
    grows = {names.EVENTS, *names.READ_MODELS, names.DELIVERIES, names.PAYLOADS, names.IDEMPOTENCY_KEYS}
    assert set(collections) == grows
    for name, field in sharding.KEYS.items():
        assert f"{field}_hashed" in await router.collection(name).index_information()
    await router.close()
