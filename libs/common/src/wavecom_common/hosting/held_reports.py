"""Reporting what this process holds for long, so that nobody takes it for lost: see `storage.held_work`."""

import asyncio

from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.component import Component
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.kernel.tasks import cancel, spawn_vital
from wavecom_common.messaging.held import HeldMessages
from wavecom_common.storage.held_work import REPORT_INTERVAL_S, HeldWork
from wavecom_common.telemetry.logs import get_logger

_log = get_logger()


class HeldReports(Component):
    """Reports every ten seconds what was held for longer than that; a component of a process.

    It goes on while the process drains. Once it ends, the broker gives out again what it held, and the reports expire.
    """

    def __init__(
        self,
        held: HeldMessages,
        work: HeldWork,
        *,
        owner: str,
        interval_s: float = REPORT_INTERVAL_S,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._held = held
        self._work = work
        self._owner = owner
        self._interval_s = interval_s
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to report, first after ten seconds."""
        self._task = spawn_vital(self._report_for_ever(), "reports of held messages")

    async def close(self) -> None:
        """End it."""
        await cancel(self._task)

    async def _report_for_ever(self) -> None:
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                await self._work.report(self._owner, self._held.oldest_ms(held_for_s=self._interval_s))
            except Unavailable as error:
                # While the database is away nobody is swept either.
                _log.debug("held_not_reported", error=str(error))
