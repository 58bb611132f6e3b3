"""The first stage of a delivery: who makes the attempt, and with what."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.delivery.claims import Call, Decision, attempt_key, decide
from wavecom_common.delivery.ledger import Claim, Ledger
from wavecom_common.delivery.starts import Starts
from wavecom_common.events.payloads import Payload, payload_of
from wavecom_common.kernel.batcher import Batcher
from wavecom_common.kernel.clock import Clock
from wavecom_common.storage.payloads import Payloads
from wavecom_common.telemetry import spans

_MAX_BATCH: Final = 500
_LINGER_S: Final = 0.020


@dataclass(frozen=True, slots=True)
class Claimed:
    """What is done about an attempt. `found` is the claim that was there before ours, `payload` what to deliver."""

    decision: Decision
    found: Claim | None
    # None: it is not stored any more.
    payload: Payload | None


@dataclass(frozen=True, slots=True)
class _Wanted:
    event: Event
    draining: asyncio.Event


class ClaimStage:
    """Claims attempts in the ledger, those of concurrent callers in one write; `Starts` begins for what is called."""

    def __init__(self, ledger: Ledger, payloads: Payloads, starts: Starts, clock: Clock) -> None:
        self._ledger = ledger
        self._payloads = payloads
        self._starts = starts
        self._clock = clock
        self._batches: Batcher[_Wanted, Claimed] = Batcher(
            self._claim, max_items=_MAX_BATCH, linger_s=_LINGER_S, max_in_flight=2
        )

    async def claim(self, event: Event, draining: asyncio.Event) -> Claimed:
        """Claim the attempt that `event` orders. With `draining` set its start is waited for no longer.

        Raises:
            Unavailable: it cannot be said who has the attempt, or what it names cannot be loaded. Call again.
        """
        return await self._batches.submit(_Wanted(event, draining))

    async def _claim(self, batch: list[_Wanted]) -> Sequence[Claimed | BaseException]:
        events = [wanted.event for wanted in batch]
        # Before the claim, so that none is held for what could not be loaded.
        payloads = await self._payloads.load({name for event in events if (name := event.content.payload_id)})
        with spans.batch_write("claim attempts", events):
            found = await self._ledger.claim_all([attempt_key(event) for event in events])
        now_ms = self._ledger.now_ms()
        claimed = [
            one
            if isinstance(one, BaseException)
            else Claimed(
                decide(one, owner=self._ledger.owner, now_ms=now_ms),
                one,
                payloads.get(name) if (name := event.content.payload_id) else payload_of(event.content),
            )
            for event, one in zip(events, found, strict=True)
        ]
        called = [
            event
            for event, one in zip(events, claimed, strict=True)
            if isinstance(one, Claimed) and isinstance(one.decision, Call)
        ]
        # One consumer feeds all of them, so all drain at once.
        self._starts.begin(called, self._clock.now_ms(), batch[0].draining)
        return claimed
