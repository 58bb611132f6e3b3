"""Payloads that are too large to travel in events, each stored once; see `events.payloads`.

They are stored before the event that names them is published, and never changed: an event in the store may be sent
again at any time. One that no stored event names is removed, but not for a week after it was stored last: its event may
be under way. So storing one that is there renews its date, and the removal has the date in its condition.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from wavecom_common.events.payloads import Payload
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import ASCENDING, DatetimeMS, Document, operation_timeout
from wavecom_common.storage.errors import database_errors
from wavecom_common.storage.inserts import insert_new
from wavecom_common.storage.names import PAYLOADS

_RENEW_AFTER_MS: Final = 24 * 3600 * 1000
# How long one is kept that no event names: longer by far than the day by which its date may be too old, and than any
# message waits for the projector.
UNNAMED_KEPT_MS: Final = 7 * 24 * 3600 * 1000


class Payloads:
    """The stored payloads, by id. Every call raises `Unavailable` (retryable) when the database did not answer."""

    def __init__(self, database: Database, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._collection = database.collection(PAYLOADS, decides=False)
        self._clock = clock

    async def store(self, payloads: Mapping[str, Payload], *, timeout_s: float) -> None:
        """Return when every one of them is stored, and kept for a week at least."""
        stored_at = DatetimeMS(self._clock.now_ms())
        documents: list[Document] = [
            {
                "_id": payload_id,
                "message": payload.message,
                "subject": payload.subject,
                "metadata": payload.metadata_json,
                "storedAt": stored_at,
            }
            for payload_id, payload in payloads.items()
        ]
        with operation_timeout(timeout_s):
            there = [documents[place]["_id"] for place in await insert_new(self._collection, documents)]
            if there:
                await self._renew(there)

    async def _renew(self, payload_ids: Collection[str]) -> None:
        """Once a day at most: one letter to thousands of recipients is stored again and again."""
        now_ms = self._clock.now_ms()
        with database_errors():
            await self._collection.update_many(
                {"_id": {"$in": list(payload_ids)}, "storedAt": {"$lt": DatetimeMS(now_ms - _RENEW_AFTER_MS)}},
                {"$set": {"storedAt": DatetimeMS(now_ms)}},
            )

    async def stored_before(self, before_ms: int, *, after: tuple[int, str], limit: int) -> Sequence[tuple[int, str]]:
        """When they were stored last, and the ids, of those stored before then; in that order, from `after` on."""
        at_ms, last = after
        query: Document = {
            "storedAt": {"$gte": DatetimeMS(at_ms), "$lt": DatetimeMS(before_ms)},
            "$or": [{"storedAt": {"$gt": DatetimeMS(at_ms)}}, {"_id": {"$gt": last}}],
        }
        with database_errors():
            found = await self._collection.find(
                query, {"storedAt": 1}, sort=[("storedAt", ASCENDING), ("_id", ASCENDING)], limit=limit
            ).to_list(limit)
        return [(int(one["storedAt"]), one["_id"]) for one in found]

    async def remove(self, payload_ids: Collection[str], *, stored_before_ms: int) -> int:
        """Remove those of these that were not stored again since then; how many that were."""
        if not payload_ids:
            return 0
        with database_errors():
            result = await self._collection.delete_many(
                {"_id": {"$in": list(payload_ids)}, "storedAt": {"$lt": DatetimeMS(stored_before_ms)}}
            )
        return int(result.deleted_count)

    async def load(self, payload_ids: Collection[str]) -> dict[str, Payload]:
        """Those that are there: nothing of ours brings it about that one is not."""
        if not payload_ids:
            return {}
        with database_errors():
            found = await self._collection.find({"_id": {"$in": list(payload_ids)}}).to_list(None)
        return {one["_id"]: Payload(one["message"], one["subject"], one["metadata"]) for one in found}
