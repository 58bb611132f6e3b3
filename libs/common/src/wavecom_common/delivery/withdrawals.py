"""Withdrawing notifications whose request is refused, although the broker may have it.

The ledger decides, as between senders: the first to insert the claim of attempt 1 has it. A withdrawal is that claim
and its outcome in one document, so that no sender can find the claim of somebody who is still at it.
"""

from collections.abc import Sequence
from typing import Final

from wavecom_common.events.outcomes import Withdrawn
from wavecom_common.kernel.batcher import Batcher
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import DatetimeMS, Document, operation_timeout
from wavecom_common.storage.errors import database_errors
from wavecom_common.storage.inserts import insert_new
from wavecom_common.storage.names import DELIVERIES
from wavecom_common.telemetry import metrics

ERROR: Final = "the request was refused: it could not be confirmed as accepted"
_KIND: Final = Withdrawn.__name__
_MAX_BATCH: Final = 500
_LINGER_S: Final = 0.010
# Of one write. Short, for a client waits; who withdraws tries again.
_TIMEOUT_S: Final = 2.0
# A sender of a version that does not know withdrawals takes one for a claim: it waits, longer than an update lasts.
_OF_OLD_SENDERS_MS: Final = 3_600_000


class Withdrawals:
    """Withdraws notifications, by id. Writes of concurrent callers go to the database together."""

    def __init__(self, database: Database, *, clock: Clock = SYSTEM_CLOCK, timeout_s: float = _TIMEOUT_S) -> None:
        self._collection = database.collection(DELIVERIES)
        self._clock = clock
        self._timeout_s = timeout_s
        self._batches: Batcher[str, bool] = Batcher(
            self._insert, max_items=_MAX_BATCH, linger_s=_LINGER_S, max_in_flight=2
        )

    async def withdraw(self, notification_ids: Sequence[str]) -> frozenset[str]:
        """Those that are withdrawn, now or before: no sender will call for them. Senders have the others.

        The answer to an id stays the same, whoever asks and however often, as long as the ledger remembers it.

        Raises:
            Unavailable: the database did not answer in time; some may be withdrawn. Call again.
        """
        withdrawn = await self._batches.submit_all(notification_ids)
        return frozenset(one for one, is_so in zip(notification_ids, withdrawn, strict=True) if is_so)

    async def _insert(self, notification_ids: list[str]) -> Sequence[bool]:
        metrics.BATCH_SIZE.labels("withdrawal").observe(len(notification_ids))
        at_ms = self._clock.now_ms()
        # The same one may be asked for twice at once.
        keys = [f"{one}:1" for one in notification_ids]
        with operation_timeout(self._timeout_s):
            documents = [_document(key, at_ms) for key in keys]
            there = [keys[place] for place in await insert_new(self._collection, documents)]
            claimed = await self._claimed(there) if there else set[str]()
        metrics.WITHDRAWALS.labels("withdrawn").inc(len(keys) - len(there))
        metrics.WITHDRAWALS.labels("claimed").inc(len(claimed))
        return [key not in claimed for key in keys]

    async def _claimed(self, keys: Sequence[str]) -> set[str]:
        """Those of the claims that are a sender's. All are there: one that is not found may be a sender's, too."""
        with database_errors():
            found = await self._collection.find({"_id": {"$in": list(keys)}}).to_list(None)
        if {document["_id"] for document in found} != {*keys}:
            raise Unavailable("database: a claim is there that cannot be found")
        return {document["_id"] for document in found if document.get("kind") != _KIND}


def _document(key: str, at_ms: int) -> Document:
    at = DatetimeMS(at_ms)
    return {
        "_id": key,
        "at": at,
        "owner": "",
        "leaseUntil": DatetimeMS(at_ms + _OF_OLD_SENDERS_MS),
        "kind": _KIND,
        "outcome": {"error": ERROR},
        "endedAt": at,
    }
