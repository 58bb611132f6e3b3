"""The time, and the only place production code waits for it to pass."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What code that depends on time is given, so that a test can give it another."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        await asyncio.sleep(seconds)  # noqa: TID251 - the one place that may


SYSTEM_CLOCK = SystemClock()
