"""The delivery ledger: who claimed an attempt, until when, and how it ended.

A claim is inserted before the provider is called and its outcome is stored before anything is published, so whoever
gets the attempt again knows what was done. Claim and outcome are a document each: a batch of inserts costs the server a
quarter of the same batch of updates.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Final

from wavecom_common.events import outcomes
from wavecom_common.events.outcomes import DeliveryOutcome
from wavecom_common.kernel.clock import Clock
from wavecom_common.kernel.component import Component
from wavecom_common.kernel.errors import Unavailable, WavecomError
from wavecom_common.kernel.tasks import cancel, spawn_vital
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import DatetimeMS, Document
from wavecom_common.storage.errors import database_errors
from wavecom_common.storage.inserts import insert_new
from wavecom_common.storage.names import DELIVERIES
from wavecom_common.telemetry import metrics
from wavecom_common.telemetry.logs import get_logger

# Renewed at a third of its time, so an owner that lives keeps it, and one that died is taken over from soon.
LEASE_S: Final = 10.0

_KINDS: Final[dict[str, type[DeliveryOutcome]]] = {
    kind.__name__: kind
    for kind in (
        outcomes.Delivered,
        outcomes.TransientFailure,
        outcomes.Throttled,
        outcomes.PermanentFailure,
        outcomes.UnknownOutcome,
        outcomes.GivenUp,
        outcomes.Withdrawn,
    )
}

_FIELDS: Final = {kind: [field.name for field in fields(type_)] for kind, type_ in _KINDS.items()}

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Settled:
    """How an attempt ended, and when the provider answered."""

    key: str
    outcome: DeliveryOutcome
    ended_at_ms: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What the ledger holds of an attempt."""

    owner: str
    lease_until_ms: int
    # Set once the provider answered, with the time of its answer.
    outcome: DeliveryOutcome | None = None
    ended_at_ms: int = 0
    # Whether the owner took it over from one that died: an earlier call may have taken effect.
    taken_over: bool = False


class Ledger(Component):
    """Claims and outcomes of attempts, by key (`<notification id>:<attempt>`); a component of a process.

    Leases are told by the database's clock, or by `clock`: the senders' own need not agree. Every method that asks the
    database raises `Unavailable` when it can't be reached; all may be called again.
    """

    def __init__(self, database: Database, *, owner: str, clock: Clock | None = None, lease_s: float = LEASE_S) -> None:
        self._database = database
        self._collection = database.collection(DELIVERIES)
        self.owner = owner
        self._clock = clock or database.clock
        self._lease_ms = round(lease_s * 1000)
        self._held: dict[str, int] = {}
        self._renewal: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to renew the leases of claims held."""
        self._renewal = spawn_vital(self._renew_for_ever(), "lease renewal")

    async def close(self) -> None:
        """Stop renewing; leases not settled run out."""
        await cancel(self._renewal)

    def now_ms(self) -> int:
        """The time to compare leases with, in milliseconds since the epoch; known once something was claimed."""
        return self._clock.now_ms()

    async def claim(self, key: str) -> Claim | None:
        """Claim one attempt; see `claim_all`.

        Raises:
            Unavailable: it cannot be said who has it.
        """
        [found] = await self.claim_all([key])
        if isinstance(found, WavecomError):
            raise found
        return found

    async def claim_all(self, keys: Sequence[str]) -> list[Claim | WavecomError | None]:
        """Claim attempts in one write, each asked for once. For each, None: it is ours, and was never claimed before.

        Else the claim that is there, which may be our own, when its insert was done although its answer was lost; or
        the error in its place: it cannot be said who has this one.
        """
        metrics.BATCH_SIZE.labels("claim").observe(len(keys))
        await self._database.hear_time()
        now_ms = self._clock.now_ms()
        lease_until_ms = now_ms + self._lease_ms
        at, lease_until = DatetimeMS(now_ms), DatetimeMS(lease_until_ms)
        documents: list[Document] = [
            {"_id": key, "at": at, "owner": self.owner, "leaseUntil": lease_until} for key in keys
        ]
        known = {keys[index] for index in await insert_new(self._collection, documents)}
        self._held.update(dict.fromkeys(set(keys) - known, lease_until_ms))
        found = await self._found(known) if known else {}
        return [found.get(key) for key in keys]

    async def take_over(self, key: str, found: Claim) -> bool:
        """Claim an attempt whose owner let its lease run out; False when somebody else was faster, or it is settled."""
        lease_until_ms = self._clock.now_ms() + self._lease_ms
        with database_errors():
            result = await self._collection.update_one(
                {"_id": key, "owner": found.owner, "leaseUntil": DatetimeMS(found.lease_until_ms)},
                {"$set": {"owner": self.owner, "leaseUntil": DatetimeMS(lease_until_ms), "takenOver": True}},
            )
        if result.modified_count == 0:
            return False
        # Looked at after the owner changed: what its predecessor stored until then was stored in time.
        if (await self._find({key}))[key].outcome is not None:
            return False
        self._held[key] = lease_until_ms
        return True

    def release(self, key: str) -> None:
        """Renew its lease no more: nothing is done about this attempt here now, whatever became of it."""
        self._held.pop(key, None)

    async def settle(self, key: str, outcome: DeliveryOutcome, ended_at_ms: int) -> Claim:
        """Store how one attempt ended; see `settle_all`."""
        [settled] = await self.settle_all([Settled(key, outcome, ended_at_ms)])
        return settled

    async def settle_all(self, settled: Sequence[Settled]) -> list[Claim]:
        """Store how attempts ended, in one write. The first outcome stored stays: what holds is returned, for each."""
        metrics.BATCH_SIZE.labels("outcome").observe(len(settled))
        at = DatetimeMS(self._clock.now_ms())
        documents = [_settled_document(one, at) for one in settled]
        # Somebody took over while we were away, or an earlier try was done after all: what is there holds.
        places = await insert_new(self._collection, documents)
        there = {settled[place].key for place in places}
        found = await self._find(there) if there else {}
        if any(key not in found or found[key].outcome is None for key in there):
            # What it is decides what is published.
            raise Unavailable("database: an outcome is stored that cannot be found")
        for one in settled:
            self._held.pop(one.key, None)
        return [found.get(one.key) or Claim(self.owner, 0, one.outcome, one.ended_at_ms) for one in settled]

    async def _found(self, known: set[str]) -> dict[str, Claim | WavecomError]:
        """What the claims that are there say; in the place of one that cannot be found, the error.

        It is there, or was a moment ago: not found means not known, and never that it is free.
        """
        claims = await self._find(known)
        own = {key for key, claim in claims.items() if claim.owner == self.owner and claim.outcome is None}
        if own:
            claims |= await self._reclaim(own)
        unknown = Unavailable("database: a claim is there that cannot be found")
        return {key: claims.get(key, unknown) for key in known}

    async def _reclaim(self, keys: set[str]) -> dict[str, Claim]:
        """Renew claims of our own whose answer was lost: their leases ran all the while. Some may be taken over now."""
        await self._extend(keys)
        claims = await self._find(keys)
        self._held.update({key: claim.lease_until_ms for key, claim in claims.items() if claim.owner == self.owner})
        return claims

    async def _find(self, keys: set[str]) -> dict[str, Claim]:
        ids = [document_id for key in keys for document_id in (key, _settled_id(key))]
        with database_errors():
            documents = {
                document["_id"]: document
                for document in await self._collection.find({"_id": {"$in": ids}}).to_list(len(ids))
            }
        return {key: _claim(documents[key], documents.get(_settled_id(key))) for key in keys if key in documents}

    async def _extend(self, keys: Collection[str]) -> int:
        """Begin the leases of these claims anew, as far as they are ours; until when they run."""
        lease_until_ms = self._clock.now_ms() + self._lease_ms
        with database_errors():
            await self._collection.update_many(
                {"_id": {"$in": list(keys)}, "owner": self.owner},
                {"$set": {"leaseUntil": DatetimeMS(lease_until_ms)}},
            )
        return lease_until_ms

    async def _renew_for_ever(self) -> None:
        while True:
            await self._clock.sleep(self._lease_ms / 3000)
            await self._renew()

    async def _renew(self) -> None:
        if not self._held:
            return
        now_ms = self._clock.now_ms()
        due = [key for key, until_ms in self._held.items() if until_ms - now_ms < self._lease_ms * 2 // 3]
        if not due:
            return
        try:
            lease_until_ms = await self._extend(due)
        except WavecomError as error:
            _log.warning("leases_not_renewed", count=len(due), error=str(error))
            return
        for key in due:
            if key in self._held:
                self._held[key] = lease_until_ms


def _settled_id(key: str) -> str:
    return f"{key}:settled"


def _settled_document(settled: Settled, at: DatetimeMS) -> Document:
    kind = type(settled.outcome).__name__
    return {
        "_id": _settled_id(settled.key),
        "at": at,
        "kind": kind,
        "outcome": {name: getattr(settled.outcome, name) for name in _FIELDS[kind]},
        "endedAt": DatetimeMS(settled.ended_at_ms),
    }


def _claim(claimed: Document, settled: Document | None) -> Claim:
    if settled is None and "kind" in claimed:
        # Withdrawn: claim and outcome in one document (see `delivery.withdrawals`).
        settled = claimed
    return Claim(
        owner=claimed["owner"],
        lease_until_ms=int(claimed["leaseUntil"]),
        outcome=None if settled is None else _outcome(settled),
        ended_at_ms=0 if settled is None else int(settled["endedAt"]),
        taken_over=claimed.get("takenOver", False),
    )


def _outcome(settled: Document) -> DeliveryOutcome:
    """As far as this version knows it: a later one may have stored it, and one claim must not fail a batch of them."""
    kind = settled["kind"]
    told = {name: settled["outcome"][name] for name in _FIELDS.get(kind, ()) if name in settled["outcome"]}
    try:
        return _KINDS[kind](**told)
    except (KeyError, TypeError):
        return outcomes.UnknownOutcome(f"an outcome of a kind this version does not know: {kind}")
