"""`Idempotency-Key`: a client may repeat a POST whose answer it did not get, and nothing is accepted twice.

The key is reserved in the database with the notifications' ids, then they are published, then the answer is stored.
A request that finds a key without an answer publishes the same ids again; events of the same id are one, so it does
not matter where the request before it ended.
Source: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson
from starlette.types import Scope
from wavecom_common.kernel.clock import Clock
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.kernel.ids import new_notification_id
from wavecom_common.storage.idempotency import KeyRecord, StoredAnswer
from wavecom_common.telemetry.logs import get_logger

from ingest_api.errors import RETRY_SOON_S, Refusal

HEADER: Final = "Idempotency-Key"
REPLAYED_HEADER: Final = "Idempotent-Replayed"
MAX_KEY_CHARACTERS: Final = 255

# A string as RFC 8941 quotes it, or the same without quotes.
KEY_PATTERN: Final = (
    rf'^(?:"(?:[ !#-\[\]-~]|\\["\\]){{1,{MAX_KEY_CHARACTERS}}}"|[!#-~](?:[ -~]{{0,{MAX_KEY_CHARACTERS - 2}}}[!-~])?)$'
)
_is_key = re.compile(KEY_PATTERN).fullmatch
_ESCAPED: Final = re.compile(r'\\(["\\])')
_WRONG: Final = (
    f"{HEADER} must be given once, as 1 to {MAX_KEY_CHARACTERS} characters of printable ASCII, with or without quotes"
)
# In small letters. Whose key it is; a gateway may know a name that lasts longer than a token.
CLIENT_HEADERS: Final = ("authorization", "x-api-key")

_log = get_logger()


class KeyStore(Protocol):
    """Where keys are kept; `wavecom_common.storage.idempotency.IdempotencyKeys` is the real one."""

    async def reserve(self, record_id: str, record: KeyRecord) -> KeyRecord | None:
        """Store the record unless there is one; then that one."""
        ...

    async def complete(self, record_id: str, answer: StoredAnswer) -> None:
        """Store the answer."""
        ...


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and whether it is that of an earlier request."""

    answer: StoredAnswer
    replayed: bool


def key_of(scope: Scope) -> str | None:
    """The request's key, without its quotes; None when it has none.

    Raises:
        Refusal: 400, it is not one.
    """
    values = [value for name, value in scope["headers"] if name == b"idempotency-key"]
    if not values:
        return None
    text = values[0].decode("latin-1").strip()
    if len(values) > 1 or not _is_key(text):
        raise Refusal(400, _WRONG, reason="invalid")
    return _ESCAPED.sub(r"\1", text[1:-1]) if text.startswith('"') else text


def fingerprint_of(body: Any) -> str:
    """A hash of a body's value: the order of keys and white space do not count, all else does."""
    try:
        text = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # An integer of more than 64 bits, in an item of a batch that is going to be refused.
        text = json.dumps(body, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()


class IdempotentRequests:
    """Answers each key's request once; concurrent requests of one key in this process wait for the same answer."""

    def __init__(self, store: KeyStore, clock: Clock, client_headers: Sequence[str] = CLIENT_HEADERS) -> None:
        self._store = store
        self._clock = clock
        self._client_headers = frozenset(name.encode("latin-1") for name in client_headers)
        self._running: dict[str, tuple[str, asyncio.Task[Answered]]] = {}

    def record_id_of(self, scope: Scope, key: str, *, tenant: str) -> str:
        """The name under which a key is kept: every tenant, client and endpoint has keys of its own.

        A client is known by the headers that name it. Of them and of the key only the hash is kept.
        """
        client = [
            [name.decode("latin-1"), value.decode("latin-1")]
            for name, value in scope["headers"]
            if name in self._client_headers
        ]
        return hashlib.sha256(orjson.dumps([tenant, scope["path"], key, client])).hexdigest()

    async def answer(
        self, record_id: str, fingerprint: str, *, count: int, accept: Callable[[KeyRecord], Awaitable[StoredAnswer]]
    ) -> Answered:
        """The answer to a request for `count` notifications.

        `accept` accepts them under the record's ids; it may be called for a record more than once, also elsewhere.

        Raises:
            Refusal: 422, the key stands for another body; 503, it is not known what it stands for; what `accept`
                raises. Nothing of that is kept: the key can be used again.
        """
        running = self._running.get(record_id)
        if running is not None:
            its_fingerprint, task = running
            _check(its_fingerprint, fingerprint)
            return Answered((await asyncio.shield(task)).answer, replayed=True)
        task = asyncio.create_task(self._answer(record_id, fingerprint, count, accept))
        self._running[record_id] = fingerprint, task
        task.add_done_callback(lambda _: self._running.pop(record_id))
        return await asyncio.shield(task)

    async def _answer(
        self, record_id: str, fingerprint: str, count: int, accept: Callable[[KeyRecord], Awaitable[StoredAnswer]]
    ) -> Answered:
        record = await self._reserve(record_id, fingerprint, count)
        _check(record.fingerprint, fingerprint)
        if record.answer is not None:
            return Answered(record.answer, replayed=True)
        answer = await accept(record)
        try:
            await self._store.complete(record_id, answer)
        except Unavailable as error:
            # Accepted it is. A retry publishes the same notifications again, which changes nothing.
            _log.warning("answer_not_stored", error=str(error))
        return Answered(answer, replayed=False)

    async def _reserve(self, record_id: str, fingerprint: str, count: int) -> KeyRecord:
        now_ms = self._clock.now_ms()
        own = KeyRecord(fingerprint, [new_notification_id(now_ms) for _ in range(count)], now_ms)
        try:
            return await self._store.reserve(record_id, own) or own
        except Unavailable as error:
            # One for every request: that the database is away is told elsewhere, once.
            _log.debug("key_not_reserved", error=str(error))
            raise Refusal(
                503,
                f"The {HEADER} could not be looked up now; repeat the request with the same key",
                reason="keys_unavailable",
                retry_after_s=RETRY_SOON_S,
            ) from error


def _check(known: str, fingerprint: str) -> None:
    if known != fingerprint:
        raise Refusal(422, f"The {HEADER} was used before with another body", reason="key_reused")
