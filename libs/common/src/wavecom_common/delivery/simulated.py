"""A provider that only pretends: it takes some time and succeeds with some probability."""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from wavecom_common.delivery.port import Attempt
from wavecom_common.events.outcomes import Delivered, DeliveryOutcome, TransientFailure
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock


@dataclass(frozen=True, slots=True)
class Simulation:
    """How the provider behaves: delays in milliseconds, a success rate from 0 to 1, a seed for repeatable runs.

    Every call is appended to `calls_file`, if one is given, as a line of JSON when it is made and before it is
    answered: the record outlives a killed process.
    """

    success_rate: float
    min_delay_ms: int
    max_delay_ms: int
    seed: int | None = None
    calls_file: str | None = None
    # Attempts it takes in one call.
    max_batch: int = 1


class SimulatedProvider:
    """An adapter for any channel, for development, demonstrations and load tests."""

    name = "simulated"

    def __init__(self, simulation: Simulation, clock: Clock = SYSTEM_CLOCK) -> None:
        self._simulation = simulation
        self._clock = clock
        self._random = random.Random(simulation.seed)
        self.max_batch = simulation.max_batch
        self._calls: int | None = None
        if simulation.calls_file is not None:
            self._calls = os.open(simulation.calls_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        """Wait a while, then succeed or fail for now."""
        [outcome] = await self.deliver_batch([attempt])
        return outcome

    async def deliver_batch(self, attempts: Sequence[Attempt]) -> Sequence[DeliveryOutcome]:
        """Wait a while, once, then succeed or fail for now with each."""
        for attempt in attempts:
            self._record(attempt)
        delay_ms = self._random.uniform(self._simulation.min_delay_ms, self._simulation.max_delay_ms)
        fails = [self._random.random() >= self._simulation.success_rate for _ in attempts]
        if delay_ms > 0:
            await self._clock.sleep(delay_ms / 1000)
        return [
            TransientFailure("the simulated provider failed") if one else Delivered(f"simulated-{attempt.dedup_key}")
            for attempt, one in zip(attempts, fails, strict=True)
        ]

    async def close(self) -> None:
        """Close the record of calls."""
        if self._calls is not None:
            os.close(self._calls)
            self._calls = None

    def _record(self, attempt: Attempt) -> None:
        if self._calls is not None:
            line = {
                "key": attempt.dedup_key,
                "notificationId": attempt.notification_id,
                "attempt": attempt.number,
                "messageBytes": len(attempt.message.encode()),
                "atMs": self._clock.now_ms(),
            }
            # One write of one line: appends of several processes to one file do not mix.
            os.write(self._calls, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
