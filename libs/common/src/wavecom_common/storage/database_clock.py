"""The time by the database's clock: the one clock that all processes of the system have in common.

A process's wall clock may be minutes off, and may jump. What processes compare with each other, as the leases of the
ledger, is told by this one. It costs nothing to read: the local monotonic clock tells it, corrected by what the
database says of the time whenever it is asked how it is. Behind a router (`mongos`) it is the router's clock: those of
all routers have to agree within a third of a lease.
"""

import time
from collections.abc import Callable

from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Unavailable


class DatabaseClock:
    """A Clock. It is off by no more than the latest answer was under way, and by less if an earlier one was quicker."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._ahead_ms: float | None = None

    @property
    def known(self) -> bool:
        """Whether the database was heard yet."""
        return self._ahead_ms is not None

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC.

        Raises:
            Unavailable: the database was not heard yet.
        """
        if self._ahead_ms is None:
            raise Unavailable("database: its time is not known yet")
        return round(self.local_ms() + self._ahead_ms)

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        await SYSTEM_CLOCK.sleep(seconds)

    def local_ms(self) -> float:
        """What to note before the database is asked; it means nothing else."""
        return self._monotonic_s() * 1000

    def hear(self, told_ms: int, *, asked_at_ms: float) -> None:
        """Take in the time that the database told in an answer which is here now; `asked_at_ms` is of `local_ms`."""
        self._ahead_ms = corrected(self._ahead_ms, told_ms, asked_at_ms=asked_at_ms, answered_at_ms=self.local_ms())


def corrected(ahead_ms: float | None, told_ms: int, *, asked_at_ms: float, answered_at_ms: float) -> float:
    """How far the database's clock is ahead of the local one: as thought before, but within what the answer proves.

    It was told some time between question and answer. So a slow answer, which proves little, leaves alone what quick
    ones showed, and a clock that was set is followed.
    """
    # Told in whole milliseconds: it may have been almost one more.
    lowest, highest = told_ms - answered_at_ms, told_ms + 1 - asked_at_ms
    if ahead_ms is None:
        return (lowest + highest) / 2
    return min(max(ahead_ms, lowest), highest)
