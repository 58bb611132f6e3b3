"""Clients' idempotency keys: which notifications a key stands for, and what was answered.

A key is reserved before anything is published and completed after the broker's confirm. Whoever finds one that is
reserved but not completed publishes the same notifications again: event ids are deterministic, so the two are one.

A record is open until it is completed or withdrawn; one excludes the other. A withdrawn one is completed, where senders
had some of its notifications already, or renewed with other ids.
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
        answer: None until it is known; from then on it never changes.
        withdrawn: a request for it was refused: what can still be withdrawn of it has to be, before anything else.
    """

    fingerprint: str
    notification_ids: Sequence[str]
    accepted_at_ms: int
    answer: StoredAnswer | None = None
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class _Completion:
    """An answer for a record, as its owner knows it."""

    record_id: str
    record: KeyRecord
    answer: StoredAnswer


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
        self._completions: Batcher[_Completion, KeyRecord | None] = Batcher(
            self._update, max_items=_MAX_BATCH, linger_s=_LINGER_S, max_in_flight=2
        )

    async def reserve(self, record_id: str, record: KeyRecord) -> KeyRecord | None:
        """Store the record unless there is one. None: ours is the first, else the one that is there.

        That may be our own, when its insert was done although we were told otherwise.
        """
        return await self._reservations.submit((record_id, record))

    async def complete(self, record_id: str, record: KeyRecord, answer: StoredAnswer) -> KeyRecord | None:
        """Store the answer, if the record is as the caller knows it. None: it is stored, and all that a retry gets.

        Else the record that is there: another answer was first, or it was withdrawn or renewed; or it has expired, and
        comes back as the caller knows it.
        """
        return await self._completions.submit(_Completion(record_id, record, answer))

    async def withdraw(self, record_id: str, record: KeyRecord) -> KeyRecord | None:
        """Withdraw the record if it is open and has these ids; the record that is there then. None: it has expired."""
        return await self._change(record_id, record, {"withdrawn": True}, withdrawn=False)

    async def renew(self, record_id: str, record: KeyRecord, by: KeyRecord) -> KeyRecord | None:
        """Put other ids in the place of a withdrawn record's; the record that is there then. None: it has expired."""
        document = self._to_document(record_id, by)
        del document["_id"]
        return await self._change(record_id, record, document, withdrawn=True)

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

    async def _update(self, completions: list[_Completion]) -> Sequence[KeyRecord | None]:
        updates = [
            UpdateOne(
                _as_known(one.record_id, one.record, withdrawn=one.record.withdrawn),
                {"$set": {"answer": {"status": one.answer.status_code, "body": one.answer.body}}},
            )
            for one in completions
        ]
        with operation_timeout(self._timeout_s):
            with database_errors():
                done = await self._collection.bulk_write(updates, ordered=False)
            if done.matched_count == len(updates):
                return [None] * len(updates)
            # At least one was not as known.
            found = await self._find({one.record_id for one in completions})
        return [_unless_done(one, found.get(one.record_id, one.record)) for one in completions]

    async def _change(
        self, record_id: str, record: KeyRecord, fields: Document, *, withdrawn: bool
    ) -> KeyRecord | None:
        with operation_timeout(self._timeout_s):
            with database_errors():
                await self._collection.update_one(_as_known(record_id, record, withdrawn=withdrawn), {"$set": fields})
            return (await self._find({record_id})).get(record_id)

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
            "withdrawn": False,
        }


def _as_known(record_id: str, record: KeyRecord, *, withdrawn: bool) -> Document:
    """The filter for a record without an answer, with these ids: the first is never another's."""
    first = record.notification_ids[0]
    # A record of an earlier version does not say whether it is withdrawn.
    return {"_id": record_id, "ids.0": first, "answer": None, "withdrawn": True if withdrawn else {"$ne": True}}


def _unless_done(completion: _Completion, found: KeyRecord) -> KeyRecord | None:
    same = found.answer == completion.answer and found.notification_ids == completion.record.notification_ids
    return None if same else found


def _from_document(document: Document) -> KeyRecord:
    answer = document["answer"]
    return KeyRecord(
        fingerprint=document["fingerprint"],
        notification_ids=document["ids"],
        accepted_at_ms=int(document["acceptedAt"]),
        answer=StoredAnswer(answer["status"], answer["body"]) if answer else None,
        withdrawn=document.get("withdrawn", False),
    )
