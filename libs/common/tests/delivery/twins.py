"""Ledger, payloads, publisher, clock and providers in memory, for the delivery loop: no server, no time."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from wavecom_common.delivery.ledger import Claim, Settled
from wavecom_common.delivery.loop import DeliveryLoop
from wavecom_common.delivery.port import Adapter, Attempt, ConnectedAdapter, NotReady
from wavecom_common.events.outcomes import Delivered, DeliveryOutcome
from wavecom_common.events.payloads import Payload
from wavecom_common.kernel.errors import Unstorable
from wavecom_common.messaging.headers import Past
from wavecom_common.messaging.incoming import Incoming, Link
from wavecom_common.messaging.outcome import Outcome
from wavecom_proto.v1.events_pb2 import Event

# What the database's clock says, which leases go by, and what this process's clock says.
OWNER, NOW_MS, AT_MS = "us", 1_000_000, 5_000_000


class StoppedClock:
    """Always `AT_MS`."""

    def now_ms(self) -> int:
        return AT_MS

    async def sleep(self, seconds: float) -> None:
        """At once."""


class MemoryLedger:
    """As `delivery.ledger.Ledger`: one claim a key, the first outcome stays."""

    owner = OWNER

    def __init__(self) -> None:
        self.claims: dict[str, Claim] = {}
        self.held: set[str] = set()
        # Keys whose outcome it refuses to store.
        self.refused: set[str] = set()
        # What each write took together.
        self.claimed: list[Sequence[str]] = []
        self.settled: list[Sequence[Settled]] = []
        # Another sender is always quicker to take an attempt over.
        self.outrun = False

    def now_ms(self) -> int:
        return NOW_MS

    async def claim(self, key: str) -> Claim | None:
        [found] = await self.claim_all([key])
        return found

    async def claim_all(self, keys: Sequence[str]) -> list[Claim | None]:
        self.claimed.append(keys)
        found = [self.claims.get(key) for key in keys]
        for key, claim in zip(keys, found, strict=True):
            if claim is None:
                self.claims[key] = Claim(OWNER, NOW_MS + 10)
                self.held.add(key)
        return found

    async def take_over(self, key: str, found: Claim) -> bool:
        if self.outrun or self.claims[key] != found:
            return False
        self.claims[key] = replace(found, owner=OWNER, taken_over=True)
        self.held.add(key)
        return True

    async def settle(self, key: str, outcome: DeliveryOutcome, ended_at_ms: int) -> Claim:
        [claim] = await self.settle_all([Settled(key, outcome, ended_at_ms)])
        return claim

    async def settle_all(self, settled: Sequence[Settled]) -> list[Claim]:
        if self.refused.intersection(one.key for one in settled):
            raise Unstorable("refused")
        self.settled.append(settled)
        for one in settled:
            claim = self.claims.get(one.key, Claim(OWNER, 0))
            if claim.outcome is None:
                self.claims[one.key] = replace(claim, outcome=one.outcome, ended_at_ms=one.ended_at_ms)
        return [self.claims[one.key] for one in settled]

    def release(self, key: str) -> None:
        self.held.discard(key)


class MemoryPublisher:
    """Remembers what was published; fails as often as it is told to."""

    def __init__(self) -> None:
        self.now: list[Event] = []
        self.later: list[Event] = []
        self.delays_ms: list[int] = []
        self.errors: list[Exception] = []
        # Its next publishing to a delay fails with these.
        self.later_errors: list[Exception] = []

    async def publish(self, events: Sequence[Event], *, timeout_s: float | None = None) -> None:
        if self.errors and events:
            raise self.errors.pop(0)
        self.now += events

    async def publish_later(self, events: Sequence[Event], *, delay_ms: int, timeout_s: float | None = None) -> None:
        if self.later_errors:
            raise self.later_errors.pop(0)
        self.later += events
        self.delays_ms.append(delay_ms)

    def types(self) -> list[str]:
        return sorted(event.type for event in self.now)


class MemoryPayloads:
    """What is stored apart, by its name."""

    def __init__(self) -> None:
        self.stored: dict[str, Payload] = {}
        self.errors: list[Exception] = []

    async def load(self, names: Collection[str]) -> dict[str, Payload]:
        if self.errors:
            raise self.errors.pop(0)
        return {name: self.stored[name] for name in names if name in self.stored}


class Answering:
    """An adapter that carries any number of calls; each waits for its gate."""

    name = "twin"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.attempts: list[Attempt] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: BaseException | None = None
        self.outcome: DeliveryOutcome = Delivered("x")
        # Where one attempt's shall be another: by its dedup key.
        self.outcomes: dict[str, DeliveryOutcome] = {}

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        self.calls.append(attempt.dedup_key)
        self.attempts.append(attempt)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.outcomes.get(attempt.dedup_key, self.outcome)

    async def close(self) -> None:
        """Nothing to close."""


class Batching(Answering):
    """An adapter that takes several attempts in a call."""

    def __init__(self, max_batch: int) -> None:
        super().__init__()
        self.max_batch = max_batch
        self.batches: list[int] = []

    async def deliver_batch(self, attempts: Sequence[Attempt]) -> Sequence[DeliveryOutcome]:
        self.batches.append(len(attempts))
        return [await self.deliver(attempt) for attempt in attempts]


class Connecting(Answering):
    """An adapter with so many connections, which can be had or not, and which break before they hand over."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.away: NotReady | None = None
        self.tries = 0
        # How many of the next calls break before they are handed over.
        self.breaks = 0
        self.lent = self.most = 0
        # How many are being got ready, and how many were at once since this was last set to 0.
        self.opening = self.most_opening = 0
        # It greets while this is set.
        self.greets = asyncio.Event()
        self.greets.set()

    async def ready(self) -> "TwinConnection":
        self.tries += 1
        self.opening += 1
        self.most_opening = max(self.most_opening, self.opening)
        try:
            await asyncio.wait([asyncio.ensure_future(_soon())])
            await self.greets.wait()
        finally:
            self.opening -= 1
        if self.away is not None:
            raise self.away
        self.lent += 1
        self.most = max(self.most, self.lent)
        return TwinConnection(self)


async def _soon() -> None:
    """A turn of the loop."""


class TwinConnection:
    """One of its connections."""

    def __init__(self, adapter: Connecting) -> None:
        self.handed_over = False
        self._adapter = adapter

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        self.handed_over = False
        if self._adapter.breaks:
            self._adapter.breaks -= 1
            raise ConnectionResetError("before it was handed over")
        self.handed_over = True
        return await self._adapter.deliver(attempt)

    def give_back(self) -> None:
        self._adapter.lent -= 1


@dataclass
class Bench:
    """A delivery loop among twins."""

    adapter: Adapter | ConnectedAdapter
    max_in_flight: int = 10
    # Longer than any test waits: a call that hangs must not free its slot by its time limit.
    provider_timeout_s: float = 600.0
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)
    payloads: MemoryPayloads = field(default_factory=MemoryPayloads)

    def __post_init__(self) -> None:
        self.loop = DeliveryLoop(
            self.adapter,
            cast("Any", self.ledger),
            cast("Any", self.payloads),
            cast("Any", self.publisher),
            max_in_flight=self.max_in_flight,
            provider_timeout_s=self.provider_timeout_s,
            retry_delays_ms=[100],
            look_again_ms=1_000,
            clock=StoppedClock(),
        )

    def begin(self, message: Incoming) -> "asyncio.Task[Sequence[Outcome]]":
        """Have it handled, beside what the test does."""
        return asyncio.get_running_loop().create_task(self.loop.handle(message))


def incoming(*events: Event, link: Link | None = None, quarantined: bool = False, replayed: bool = False) -> Incoming:
    """A message with these events."""
    past = Past(quarantined=quarantined, replayed=replayed)
    return Incoming("q", "m", events, asyncio.Event(), link or Link(), past)
