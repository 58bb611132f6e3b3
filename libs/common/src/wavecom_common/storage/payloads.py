"""Payloads that are too large to travel in events, each stored once; see `events.payloads`.

They are stored before the event that names them is published, and never changed or removed: an event in the store may
be sent again at any time. One whose event was never published stays, too; it harms nobody.
"""

from collections.abc import Collection, Mapping

from wavecom_common.events.payloads import Payload
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import DatetimeMS, Document, operation_timeout
from wavecom_common.storage.errors import database_errors
from wavecom_common.storage.inserts import insert_new
from wavecom_common.storage.names import PAYLOADS


class Payloads:
    """The stored payloads, by id. Every call raises `Unavailable` (retryable) when the database did not answer."""

    def __init__(self, database: Database, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._collection = database.collection(PAYLOADS, decides=False)
        self._clock = clock

    async def store(self, payloads: Mapping[str, Payload], *, timeout_s: float) -> None:
        """Return when every one of them is stored; those that were are left as they are."""
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
            await insert_new(self._collection, documents)

    async def load(self, payload_ids: Collection[str]) -> dict[str, Payload]:
        """Those that are there: nothing of ours brings it about that one is not."""
        if not payload_ids:
            return {}
        with database_errors():
            found = await self._collection.find({"_id": {"$in": list(payload_ids)}}).to_list(None)
        return {one["_id"]: Payload(one["message"], one["subject"], one["metadata"]) for one in found}
