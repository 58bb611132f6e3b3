"""The indexes, declared once. Applying them again changes nothing."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from wavecom_common.storage import names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import ASCENDING, DESCENDING, IndexModel
from wavecom_common.storage.errors import database_errors

# Longer than the longest delay and the oldest message: a claim that is forgotten lets its attempt be made again.
# An outcome is younger than its claim, so it is never forgotten first.
LEDGER_DAYS: Final = 14
# What is not older the ledger is sure to remember: a day less, for clocks and for what is still on its way.
LEDGER_SURE_DAYS: Final = LEDGER_DAYS - 1

INDEXES: Final[Mapping[str, Sequence[IndexModel]]] = {
    names.NOTIFICATIONS: [
        # For an operator; the API has no such question.
        IndexModel([("recipient", ASCENDING)]),
        # What has no end yet, the longest overdue first: for the sweeper.
        IndexModel([("dueAt", ASCENDING), ("_id", ASCENDING)], partialFilterExpression={"head.final": 0}),
        # Of these, what was not dispatched yet: looked for every few seconds, also while a million wait for a sender.
        # Most events are folded together with those that follow, so hardly any notification is ever in it.
        IndexModel(
            [("head.attempt", ASCENDING), ("dueAt", ASCENDING), ("_id", ASCENDING)],
            partialFilterExpression={"head.final": 0, "head.attempt": 0},
        ),
        # Every listing. Each index more is paid for with every event.
        *(
            IndexModel([*narrowed, ("createdAt", DESCENDING), ("_id", DESCENDING)])
            for narrowed in (
                [("tenant", ASCENDING)],
                [("tenant", ASCENDING), ("channel", ASCENDING), ("head.status", ASCENDING)],
            )
        ),
    ],
    names.EVENTS: [
        # Whether any event still names a payload. The few that do are in it, once each.
        IndexModel([("content.payloadId", ASCENDING)], partialFilterExpression={"content.payloadId": {"$gt": ""}}),
    ],
    names.PAYLOADS: [IndexModel([("storedAt", ASCENDING), ("_id", ASCENDING)])],
    names.SWEEPS: [IndexModel([("until", ASCENDING)], expireAfterSeconds=24 * 3600)],
    names.HELD_WORK: [IndexModel([("at", ASCENDING)], expireAfterSeconds=3600)],
    names.DELIVERIES: [IndexModel([("at", ASCENDING)], expireAfterSeconds=LEDGER_DAYS * 24 * 3600)],
    # Each record says when it ends.
    names.IDEMPOTENCY_KEYS: [IndexModel([("expiresAt", ASCENDING)], expireAfterSeconds=0)],
}


async def apply(database: Database, *, read_models: Collection[str] = (names.NOTIFICATIONS,)) -> None:
    """Create what is missing, on every collection that is in use; `read_models` are those that hold the read model.

    Raises:
        Unavailable: the database cannot be reached. Retryable.
        Unstorable: an index of the same name with another definition is there; an operator has to drop it.
    """
    for collection, indexes in INDEXES.items():
        if collection != names.NOTIFICATIONS:
            await _create(database, collection, indexes)
    for collection in read_models:
        await apply_to_read_model(database, collection)


async def apply_to_read_model(database: Database, collection: str) -> None:
    """Create what is missing on one of the read model's collections; raises as `apply` does."""
    await _create(database, collection, INDEXES[names.NOTIFICATIONS])


async def _create(database: Database, collection: str, indexes: Sequence[IndexModel]) -> None:
    with database_errors():
        await database.collection(collection).create_indexes(list(indexes))
