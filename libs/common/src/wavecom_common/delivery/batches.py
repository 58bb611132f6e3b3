"""Lines to a provider that takes several attempts in one call."""

import asyncio
from collections.abc import Sequence
from typing import Final

from wavecom_common.delivery.connections import Unconnected
from wavecom_common.delivery.port import Attempt, BatchAdapter
from wavecom_common.events.outcomes import DeliveryOutcome
from wavecom_common.kernel.batcher import Batcher
from wavecom_common.telemetry import metrics

# Bounded by the deliveries in flight; this is only not to be the bound.
_CALLS_AT_ONCE: Final = 100_000


class Batches(Unconnected):
    """Attempts that were claimed together are called together, at most `max_batch` in a call; none waits for others."""

    def __init__(self, adapter: BatchAdapter, *, timeout_s: float) -> None:
        super().__init__(adapter)
        self._batch_adapter = adapter
        self._timeout_s = timeout_s
        self._calls: Batcher[Attempt, DeliveryOutcome] = Batcher(
            self.call, max_items=adapter.max_batch, linger_s=0, max_in_flight=_CALLS_AT_ONCE
        )

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        """The outcome of this attempt in its group's call; see `port.Adapter`."""
        return await self._calls.submit(attempt)

    async def call(self, group: Sequence[Attempt]) -> Sequence[DeliveryOutcome]:
        """One call; its outcomes, in order.

        Raises:
            TimeoutError: no answer in time.
            ValueError: the adapter did not answer for each attempt.
        """
        metrics.BATCH_SIZE.labels("call").observe(len(group))
        async with asyncio.timeout(self._timeout_s):
            outcomes = await self._batch_adapter.deliver_batch(group)
        if len(outcomes) != len(group):
            raise ValueError(f"{len(outcomes)} outcomes of {len(group)} attempts")
        return outcomes
