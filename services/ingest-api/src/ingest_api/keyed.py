"""Requests with an `Idempotency-Key`: a client may repeat one, and nothing is accepted twice.

The key is reserved in the database with the notifications' ids, then they are published, then the answer is stored,
then it is given. A request that finds a key without an answer publishes the same ids again; events of the same id are
one, so it does not matter where the request before it ended.

Two things end that: the stored answer, or that a request was refused and withdraws the key's record. The database makes
sure that one excludes the other, so nothing is withdrawn that anybody was told is accepted. Of a withdrawn record the
ledger says which notifications senders have already, the same to everybody who asks: those are the answer. Where there
are none, the next request gets other ids. Every interleaving is in docs/adr/0028-a-key-is-withdrawn-or-answered.md.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import orjson
from starlette.types import Scope
from wavecom_common.kernel.clock import Clock
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.kernel.ids import new_notification_id
from wavecom_common.telemetry.logs import get_logger
from wavecom_proto.v1.events_pb2 import Event

from ingest_api.accept import Accepted, Acceptor, Budget, Unconfirmed, count_accepted, without
from ingest_api.errors import RETRY_SOON_S, Refusal
from ingest_api.idempotency.header import CLIENT_HEADERS, HEADER
from ingest_api.idempotency.keys import KeyRecord, StoredAnswer
from ingest_api.withdrawals import Withdrawals, within

_log = get_logger()


class KeyStore(Protocol):
    """Where keys are kept; `ingest_api.idempotency.keys.IdempotencyKeys` is the real one, and says more."""

    async def reserve(self, record_id: str, record: KeyRecord) -> KeyRecord | None:
        """Store the record unless there is one; then that one."""
        ...

    async def complete(self, record_id: str, record: KeyRecord, answer: StoredAnswer) -> KeyRecord | None:
        """Store the answer unless the record is another meanwhile; then that one."""
        ...

    async def withdraw(self, record_id: str, record: KeyRecord) -> KeyRecord | None:
        """Withdraw the record unless it is another meanwhile; the one that is there."""
        ...

    async def renew(self, record_id: str, record: KeyRecord, by: KeyRecord) -> KeyRecord | None:
        """Replace the withdrawn record unless it is another meanwhile; the one that is there."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for: `count` ids, its events under those of a record, and its answer once some are accepted.

    Requests of one body make the same events and answers of the same record.
    """

    count: int
    events: Callable[[KeyRecord], list[Event]]
    answer: Callable[[Sequence[Accepted]], StoredAnswer]


@dataclass(frozen=True, slots=True)
class _Withdrawn:
    """A record after the attempt to withdraw it, and which of its notifications are withdrawn; None: it was not."""

    found: KeyRecord | None
    withdrawn: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and whether it is that of an earlier request."""

    answer: StoredAnswer
    replayed: bool


class IdempotentRequests:
    """Answers each key's request once; concurrent requests of one key in this process wait for the same answer."""

    def __init__(
        self,
        acceptor: Acceptor,
        withdrawals: Withdrawals,
        store: KeyStore,
        clock: Clock,
        client_headers: Sequence[str] = CLIENT_HEADERS,
    ) -> None:
        self._acceptor = acceptor
        self._withdrawals = withdrawals
        self._store = store
        self._clock = clock
        self._client_headers = frozenset(name.encode("latin-1") for name in client_headers)
        self._running: dict[str, tuple[str, asyncio.Task[Answered]]] = {}

    def record_id_of(self, scope: Scope, key: str) -> str:
        """The name under which a key is kept: every tenant, client and endpoint has keys of its own.

        A client is known by the headers that name it. Of them and of the key only the hash is kept.
        """
        client = [
            [name.decode("latin-1"), value.decode("latin-1")]
            for name, value in scope["headers"]
            if name in self._client_headers
        ]
        return hashlib.sha256(orjson.dumps([self._acceptor.tenant, scope["path"], key, client])).hexdigest()

    async def answer(self, record_id: str, fingerprint: str, wanted: Wanted) -> Answered:
        """The answer to a request.

        Raises:
            Refusal: 422, the key stands for another body; 503, nothing of it is accepted, or it is not known what the
                key stands for: repeated with the same key, the request is answered once that is known.
        """
        running = self._running.get(record_id)
        if running is not None:
            its_fingerprint, task = running
            _check(its_fingerprint, fingerprint)
            return Answered((await asyncio.shield(task)).answer, replayed=True)
        task = asyncio.create_task(self._answer(record_id, fingerprint, wanted))
        self._running[record_id] = fingerprint, task
        task.add_done_callback(lambda _: self._running.pop(record_id))
        return await asyncio.shield(task)

    async def _answer(self, record_id: str, fingerprint: str, wanted: Wanted) -> Answered:
        budget = self._acceptor.budget()
        record = await self._reserve(record_id, fingerprint, wanted, budget)
        _check(record.fingerprint, fingerprint)
        if record.withdrawn and record.answer is None:
            record = await self._resolve(record_id, record, wanted, budget)
        if record.answer is not None:
            return Answered(record.answer, replayed=True)
        events = wanted.events(record)
        answer = wanted.answer(events)
        try:
            await self._acceptor.publish(events, budget)
            await self._complete(record_id, record, answer, budget)
        except Unconfirmed:
            known = await self._take_back(record_id, record, events, wanted, budget)
            if known is None:
                raise
            return Answered(known, replayed=False)
        count_accepted(events)
        return Answered(answer, replayed=False)

    async def _reserve(self, record_id: str, fingerprint: str, wanted: Wanted, budget: Budget) -> KeyRecord:
        own = self._new_record(fingerprint, wanted)
        try:
            return await within(budget.publish_by_s, self._store.reserve(record_id, own)) or own
        except Unavailable as error:
            raise _not_looked_up(error) from error

    async def _resolve(self, record_id: str, record: KeyRecord, wanted: Wanted, budget: Budget) -> KeyRecord:
        """What a withdrawn record stands for: it has an answer now, or other ids."""

        async def resolved() -> KeyRecord:
            events = wanted.events(record)
            withdrawn = await self._withdrawals.withdraw(self._withdrawals.ends(events))
            answer = await self._settle(record_id, record, without(events, withdrawn), wanted)
            if answer is not None:
                return replace(record, answer=answer)
            found = await self._store.renew(record_id, record, self._new_record(record.fingerprint, wanted))
            if found is None or (found.withdrawn and found.answer is None):
                raise Unavailable("the key expired, or was withdrawn again, at this moment")
            return found

        try:
            return await within(budget.publish_by_s, resolved())
        except Unavailable as error:
            raise _not_looked_up(error) from error

    async def _complete(self, record_id: str, record: KeyRecord, answer: StoredAnswer, budget: Budget) -> None:
        """Store the answer.

        Raises:
            Unconfirmed: it may not be. Then another request of the key might withdraw what this one says is accepted.
        """
        try:
            found = await within(budget.answer_by_s, self._store.complete(record_id, record, answer))
        except Unavailable as error:
            _log.warning("answer_not_stored", error=str(error))
            raise _not_concluded() from error
        if found is not None:
            raise _not_concluded()

    async def _take_back(
        self, record_id: str, record: KeyRecord, events: Sequence[Event], wanted: Wanted, budget: Budget
    ) -> StoredAnswer | None:
        """Withdraw the record, unless somebody answers the key with 201. The key's answer; None: no other than 503.

        What takes longer goes on without the request, whose memory is given back; the next one of the key concludes.
        """
        ends = self._withdrawals.ends(events)
        done = await self._withdrawals.carry_out(
            lambda: self._withdraw(record_id, record, ends), count=len(ends), by_s=budget.answer_by_s
        )
        if done is None or done.found is None:
            return None
        if done.found.answer is not None or done.withdrawn is None:
            return done.found.answer
        accepted = without(events, done.withdrawn)
        try:
            return await within(budget.answer_by_s, self._settle(record_id, done.found, accepted, wanted))
        except Unavailable as error:
            _log.warning("answer_not_stored", error=str(error))
            return None

    async def _withdraw(self, record_id: str, record: KeyRecord, ends: Sequence[Event]) -> _Withdrawn:
        """Withdraw the record and, where that is its state now, its notifications.

        Raises:
            Unavailable: it is not known yet. Call again.
        """
        found = await self._store.withdraw(record_id, record)
        # None: nobody can answer under it any more, nor does anything say whether somebody did. Other ids: these were
        # withdrawn, all of them, before others came in their place.
        if found is None or found.answer is not None or found.notification_ids != record.notification_ids:
            return _Withdrawn(found, None)
        return _Withdrawn(found, await self._withdrawals.withdraw(ends))

    async def _settle(
        self, record_id: str, record: KeyRecord, accepted: Sequence[Accepted], wanted: Wanted
    ) -> StoredAnswer | None:
        """The answer of a withdrawn record, stored: to what senders had already. None: they had nothing of it."""
        if not any(isinstance(one, Event) for one in accepted):
            return None
        answer = wanted.answer(accepted)
        found = await self._store.complete(record_id, record, answer)
        if found is not None:
            return found.answer
        count_accepted(accepted)
        return answer

    def _new_record(self, fingerprint: str, wanted: Wanted) -> KeyRecord:
        now_ms = self._clock.now_ms()
        return KeyRecord(fingerprint, [new_notification_id(now_ms) for _ in range(wanted.count)], now_ms)


def _check(known: str, fingerprint: str) -> None:
    if known != fingerprint:
        raise Refusal(422, f"The {HEADER} was used before with another body", reason="key_reused")


def _not_looked_up(error: Unavailable) -> Refusal:
    # One for every request: that the database is away is told elsewhere, once.
    _log.debug("key_not_looked_up", error=str(error))
    return Refusal(
        503,
        f"The {HEADER} could not be looked up now; repeat the request with the same key",
        reason="keys_unavailable",
        retry_after_s=RETRY_SOON_S,
    )


def _not_concluded() -> Unconfirmed:
    return Unconfirmed(
        503,
        f"The answer could not be stored under the {HEADER} now; repeat the request with the same key",
        reason="keys_unavailable",
        retry_after_s=RETRY_SOON_S,
    )
