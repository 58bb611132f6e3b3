"""Work that a process does now and then, in the background."""

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress

from wavecom_common.kernel.component import Component
from wavecom_common.kernel.tasks import cancel, spawn_vital


class Periodic(Component, ABC):
    """Does `work` every `interval_s`, first after one interval. What it raises ends the process: see `spawn_vital`.

    It is always ready: that it cannot do its work now is no reason to send the process no requests.
    """

    def __init__(self, name: str, interval_s: float) -> None:
        """`name` is the task's, and stands in the log when it dies."""
        self._name = name
        self._interval_s = interval_s
        # Set when the process drains: work that takes long looks at it.
        self.stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def work(self) -> None:
        """Do it once."""

    async def start(self) -> None:
        """Begin."""
        self._task = spawn_vital(self._work_until_stopped(), self._name)

    async def drain(self) -> None:
        """Finish the work that was begun."""
        self.stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """End it."""
        # A client library may swallow a cancellation: then the work that is cut short is the last.
        self.stopping.set()
        await cancel(self._task)

    async def pause(self, seconds: float) -> None:
        """Return after that many seconds, or when the process drains."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()

    async def _work_until_stopped(self) -> None:
        await self.pause(self._interval_s)
        while not self.stopping.is_set():
            await self.work()
            await self.pause(self._interval_s)
