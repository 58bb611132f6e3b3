"""A provider that only pretends: it takes some time and succeeds with some probability."""

import os
import random
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


class SimulatedProvider:
    """An adapter for any channel, for development, demonstrations and load tests."""

    name = "simulated"

    def __init__(self, simulation: Simulation, clock: Clock = SYSTEM_CLOCK) -> None:
        self._simulation = simulation
        self._clock = clock
        self._random = random.Random(simulation.seed)
        self._calls: int | None = None
        if simulation.calls_file is not None:
            self._calls = os.open(simulation.calls_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        """Wait a while, then succeed or fail for now."""
        self._record(attempt)
        delay_ms = self._random.uniform(self._simulation.min_delay_ms, self._simulation.max_delay_ms)
        fails = self._random.random() >= self._simulation.success_rate
        if delay_ms > 0:
            await self._clock.sleep(delay_ms / 1000)
        if fails:
            return TransientFailure("the simulated provider failed")
        return Delivered(f"simulated-{attempt.dedup_key}")

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
