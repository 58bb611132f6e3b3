"""How the collections are spread over the shards of a cluster: the keys, and the commands that set them.

Everything is found by id, and ids carry their time, so every key is hashed: writes of the moment go to all shards. The
events of a notification stay together, which also keeps their ids unique: an id begins with its notification's, so two
equal ones meet on one shard, whose index on `_id` refuses the second.
Source: https://www.mongodb.com/docs/manual/core/hashed-sharding/
"""

from collections.abc import Mapping, Sequence
from typing import Final

from wavecom_common.kernel.errors import Refused
from wavecom_common.storage import names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import IndexModel
from wavecom_common.storage.errors import database_errors

HASHED: Final = "hashed"
# What is not here is a document or a handful, and stays on one shard.
KEYS: Final[Mapping[str, str]] = {
    names.EVENTS: "nid",
    **dict.fromkeys(names.READ_MODELS, "_id"),
    names.DELIVERIES: "_id",
    names.PAYLOADS: "_id",
    names.IDEMPOTENCY_KEYS: "_id",
}
# How a router answers `hello`, and nothing else does.
_ROUTER: Final = "isdbgrid"


async def apply(database: Database) -> Sequence[str]:
    """Spread every collection over the shards; returns their names. Again, or with data in them, it may be called, too.

    Raises:
        Refused: this is no router of a sharded cluster.
        Unavailable: it cannot be reached, or a collection is sharded by another key. Retryable in the first case.
    """
    with database_errors():
        answer = await database.admin_command({"hello": 1})
        if answer.get("msg") != _ROUTER:
            raise Refused(
                "WAVECOM_MONGODB_URL leads to a server that is no mongos: there are no shards to spread anything over"
            )
        for collection, field in KEYS.items():
            key = {field: HASHED}
            # Where there are documents already, they have to be indexed by the key.
            await database.collection(collection).create_indexes([IndexModel(list(key.items()))])
            await database.admin_command({"shardCollection": f"{database.name}.{collection}", "key": key})
    return list(KEYS)
