"""Watching how many messages wait in queues."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from aio_pika.abc import AbstractConnection

from wavecom_common.kernel.tasks import spawn_vital
from wavecom_common.messaging.connection import keep_session
from wavecom_common.messaging.topology import message_counts

LOOK_TIMEOUT_S: Final = 5.0


class QueueDepths:
    """Tells `on_look` every `interval_s` how many messages are ready in each queue; a part of a process.

    A queue that is missing counts as empty. While the broker cannot be asked nothing is told. It is no condition of
    the process's readiness: what publishes knows itself whether it can.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        queues: Sequence[str],
        on_look: Callable[[Mapping[str, int]], None],
        interval_s: float = 1.0,
    ) -> None:
        self._url = url
        self._name = f"{name} depths"
        self._queues = queues
        self._on_look = on_look
        self._interval_s = interval_s
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to connect and to look."""
        self._task = spawn_vital(keep_session(self._url, self._name, self._session, self._stop), self._name)

    def ready(self) -> str | None:
        """Always None."""
        return None

    async def drain(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Stop looking and close the link."""
        if self._task is not None:
            self._stop.set()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _session(self, connection: AbstractConnection) -> None:
        while not self._stop.is_set():
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                counts = await message_counts(connection, self._queues)
            self._on_look({name: count or 0 for name, count in counts.items()})
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._stop.wait()
