"""Clients' idempotency keys: which notifications a key stands for, and what was answered.

A key is reserved before anything is published and completed after the broker's confirm. Whoever finds one that is
reserved but not completed publishes the same notifications again: event ids are deterministic, so the two are one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wavecom_common.kernel.batcher import Batcher
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import DatetimeMS, Document, UpdateOne, operation_timeout
from wavecom_common.storage.errors import database_errors
from wavecom_common.storage.inserts import insert_new
from wavecom_common.storage.names import IDEMPOTENCY_KEYS
from wavecom_common.telemetry import metrics

_MAX_BATCH: Final = 200
_LINGER_S: Final = 0.003


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What the client was told."""

    status_code: int
    body: bytes


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What a key stands for.

    Attributes:
        fingerprint: of the request's body; another body under the same key is a mistake of the client.
        notification_ids: one per notification asked for, in order.
        accepted_at_ms: the time the notifications carry.
        answer: None until every notification is confirmed.
    """

    fingerprint: str
    notification_ids: Sequence[str]
    accepted_at_ms: int
    answer: StoredAnswer | None = None


class IdempotencyKeys:
    """The records by id (of key, client and tenant together, never the key itself), kept for `keep_ms` and then some.

    Writes of concurrent requests go to the database together. Every method raises `Unavailable` when the database did
    not do it within `timeout_s`; all may be called again.
    """

    def __init__(self, database: Database, *, keep_ms: int, timeout_s: float) -> None:
        self._collection = database.collection(IDEMPOTENCY_KEYS)
        self._keep_ms = keep_ms
        self._timeout_s = timeout_s
        self._reservations: Batcher[tuple[str, KeyRecord], KeyRecord | None] = Batcher(
            self._insert, max_items=_MAX_BATCH, linger_s=_LINGER_S, max_in_flight=2
        )
        self._completions: Batcher[tuple[str, StoredAnswer], None] = Batcher(
            self._update, max_items=_MAX_BATCH, linger_s=_LINGER_S, max_in_flight=2
        )

    async def reserve(self, record_id: str, record: KeyRecord) -> KeyRecord | None:
        """Store the record unless there is one. None: ours is the first, else the one that is there.

        That may be our own, when its insert was done although we were told otherwise.
        """
        return await self._reservations.submit((record_id, record))

    async def complete(self, record_id: str, answer: StoredAnswer) -> None:
        """Store what the client is told; from now on it is all that a retry gets."""
        await self._completions.submit((record_id, answer))

    async def _insert(self, reservations: list[tuple[str, KeyRecord]]) -> Sequence[KeyRecord | BaseException | None]:
        metrics.BATCH_SIZE.labels("idempotency key").observe(len(reservations))
        documents = [self._to_document(record_id, record) for record_id, record in reservations]
        with operation_timeout(self._timeout_s):
            taken = await insert_new(self._collection, documents)
            found = await self._find({reservations[index][0] for index in taken}) if taken else {}
        # One that was there and now is not has just outlived its time: the retry will be the first.
        gone = Unavailable("an idempotency key expired at this moment")
        return [
            found.get(record_id, gone) if index in taken else None for index, (record_id, _) in enumerate(reservations)
        ]

    async def _update(self, completions: list[tuple[str, StoredAnswer]]) -> Sequence[None]:
        updates = [
            UpdateOne({"_id": record_id}, {"$set": {"answer": {"status": answer.status_code, "body": answer.body}}})
            for record_id, answer in completions
        ]
        with operation_timeout(self._timeout_s), database_errors():
            await self._collection.bulk_write(updates, ordered=False)
        return [None] * len(completions)

    async def _find(self, record_ids: set[str]) -> dict[str, KeyRecord]:
        with database_errors():
            documents = await self._collection.find({"_id": {"$in": list(record_ids)}}).to_list(None)
        return {document["_id"]: _from_document(document) for document in documents}

    def _to_document(self, record_id: str, record: KeyRecord) -> Document:
        return {
            "_id": record_id,
            "fingerprint": record.fingerprint,
            "ids": list(record.notification_ids),
            "acceptedAt": DatetimeMS(record.accepted_at_ms),
            "expiresAt": DatetimeMS(record.accepted_at_ms + self._keep_ms),
            "answer": None,
        }


def _from_document(document: Document) -> KeyRecord:
    answer = document["answer"]
    return KeyRecord(
        fingerprint=document["fingerprint"],
        notification_ids=document["ids"],
        accepted_at_ms=int(document["acceptedAt"]),
        answer=StoredAnswer(answer["status"], answer["body"]) if answer else None,
    )
