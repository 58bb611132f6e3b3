"""The last stage of a delivery: store how an attempt ended, then publish what follows from it."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.delivery import metering
from wavecom_common.delivery.claims import attempt_key
from wavecom_common.delivery.ledger import Claim, Ledger, Settled
from wavecom_common.delivery.policy import Consequences, consequences, unknown_action
from wavecom_common.delivery.starts import Starts
from wavecom_common.events import types
from wavecom_common.events.outcomes import DeliveryOutcome, GivenUp, Withdrawn
from wavecom_common.kernel.batcher import Batcher
from wavecom_common.kernel.clock import Clock
from wavecom_common.kernel.errors import WavecomError
from wavecom_common.kernel.retrying import until_available
from wavecom_common.messaging.outcome import ACK, DeadLetter, Outcome
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.telemetry import spans
from wavecom_common.telemetry.logs import get_logger

# Deliveries that end within this time of each other are stored and published together.
_LINGER_S: Final = 0.020
_MAX_BATCH: Final = 500
_STORED_AT_ONCE: Final = 4
# Those that wait for a broker that is away keep nobody from storing.
_PUBLISHED_AT_ONCE: Final = 1_000

_log = get_logger()


@dataclass(frozen=True, slots=True)
class _Ended:
    """An attempt that was made, and how it ended."""

    event: Event
    settled: Settled


class RecordStage:
    """Stores outcomes and publishes their consequences, those of concurrent callers in one write each."""

    def __init__(
        self,
        ledger: Ledger,
        publisher: EventPublisher,
        starts: Starts,
        clock: Clock,
        *,
        provider: str,
        retry_delays_ms: Sequence[int],
    ) -> None:
        self._ledger = ledger
        self._publisher = publisher
        self._starts = starts
        self._clock = clock
        self._provider = provider
        self._retry_delays_ms = retry_delays_ms
        # Outcomes that are not stored yet: a call whose outcome is known is not made again, whatever goes wrong.
        self._unstored: dict[str, DeliveryOutcome] = {}
        self._never = asyncio.Event()
        self._stores: Batcher[_Ended, Consequences] = Batcher(
            self._store, max_items=_MAX_BATCH, linger_s=_LINGER_S, max_in_flight=_STORED_AT_ONCE, eager=False
        )
        # Those that were stored together wake up together, and are published together.
        self._publishes: Batcher[Consequences, Outcome] = Batcher(
            self._publish, max_items=_MAX_BATCH, linger_s=0, max_in_flight=_PUBLISHED_AT_ONCE
        )

    def known(self, key: str) -> DeliveryOutcome | None:
        """The outcome of an attempt that was made here and could not be stored."""
        return self._unstored.get(key)

    async def record(self, event: Event, outcome: DeliveryOutcome) -> Outcome:
        """Store how the attempt which `event` orders ended, and publish what follows. The first outcome stored counts.

        Returns when both are done, also while the process drains: only this process knows the outcome.

        Raises:
            Unstorable: the ledger will not take it. Not retryable.
            Unavailable: what follows could not be published. Retryable: the attempt's next sender finds the outcome.
        """
        key = attempt_key(event)
        self._unstored[key] = outcome
        follows = await self._stores.submit(_Ended(event, Settled(key, outcome, self._clock.now_ms())))
        return await self.publish(follows)

    async def give_up(self, event: Event, error: str) -> None:
        """Store that no more is done about an attempt, unless it is known how it ended, and publish what follows.

        Raises:
            Unavailable: it is not stored, or not published. Call again.
        """
        key = attempt_key(event)
        claim = await self._ledger.settle(key, self._unstored.get(key) or GivenUp(error), self._clock.now_ms())
        self._unstored.pop(key, None)
        await self.publish(self._ended(event, claim))

    async def repeat(self, event: Event, outcome: DeliveryOutcome, ended_at_ms: int) -> Outcome:
        """Publish a stored outcome again: its first sender may have died at it, also before it published the start."""
        follows = self._follows(event, outcome, ended_at_ms)
        if isinstance(outcome, GivenUp):
            await self.publish(follows)
            return DeadLetter(outcome.error, fails=False)
        if isinstance(outcome, Withdrawn):
            # It was never started.
            return await self.publish(follows)
        return await self.publish(replace(follows, now=[self._starts.event(event, ended_at_ms), *follows.now]))

    async def publish(self, follows: Consequences) -> Outcome:
        """Publish what follows.

        Raises:
            Unavailable, Unroutable: it is not, or not all of it. Retryable; the same events again change nothing.
        """
        return await self._publishes.submit(follows)

    async def interrupted(self, event: Event, *, unknown: bool) -> None:
        """Publish that an attempt had started whose sender died at it; with `unknown`, that its outcome is not known.

        Raises:
            Unavailable, Unroutable: as `publish`.
        """
        now_ms = self._clock.now_ms()
        events = [self._starts.event(event, now_ms)]
        if unknown:
            events.append(types.outcome_unknown(event, action=unknown_action(event), now_ms=now_ms))
        await self._publisher.publish(events)
        metering.count_events(events)

    async def _store(self, batch: list[_Ended]) -> Sequence[Consequences | BaseException]:
        try:
            held = await self._settle(batch)
        except Exception as error:  # noqa: BLE001 - one that can't be stored must not keep the others
            if len(batch) == 1:
                return [error]
            return [one for ended in batch for one in await self._store([ended])]
        return [self._ended(ended.event, claim) for ended, claim in zip(batch, held, strict=True)]

    async def _settle(self, batch: Sequence[_Ended]) -> Sequence[Claim]:
        def log(error: Exception) -> None:
            first = batch[0].settled.key
            _log.warning("outcomes_not_stored", attempts=len(batch), first=first, error=str(error))

        settled = [ended.settled for ended in batch]
        with spans.batch_write("store outcomes", [ended.event for ended in batch]):
            held = await until_available(lambda: self._ledger.settle_all(settled), stop=self._never, tell=log)
        for one in settled:
            self._unstored.pop(one.key, None)
        return held

    def _ended(self, event: Event, claim: Claim) -> Consequences:
        """What follows from an outcome that is stored now."""
        assert claim.outcome is not None
        follows = self._follows(event, claim.outcome, claim.ended_at_ms)
        metering.count_events(follows.now)
        return follows

    def _follows(self, event: Event, outcome: DeliveryOutcome, ended_at_ms: int) -> Consequences:
        return consequences(
            event, outcome, provider=self._provider, at_ms=ended_at_ms, retry_delays_ms=self._retry_delays_ms
        )

    async def _publish(self, batch: list[Consequences]) -> Sequence[Outcome | BaseException]:
        """Where only a retry could not be placed, the error is in its place."""
        await self._publisher.publish([event for one in batch for event in one.now])
        failed = dict([await self._publish_later(delay_ms, batch) for delay_ms in _delays_ms(batch)])
        return [(failed[one.delay_ms] or ACK) if one.later else ACK for one in batch]

    async def _publish_later(self, delay_ms: int, batch: Sequence[Consequences]) -> tuple[int, WavecomError | None]:
        events = [event for one in batch if one.delay_ms == delay_ms for event in one.later]
        try:
            await self._publisher.publish_later(events, delay_ms=delay_ms)
        except WavecomError as error:
            return delay_ms, error
        return delay_ms, None


def _delays_ms(batch: Iterable[Consequences]) -> Sequence[int]:
    return sorted({one.delay_ms for one in batch if one.later})
