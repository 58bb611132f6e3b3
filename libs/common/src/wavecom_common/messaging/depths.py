"""Asking how many messages wait in queues; a broker that does not answer is noticed by it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from wavecom_common.kernel.component import Component
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.kernel.tasks import spawn_vital
from wavecom_common.messaging.connection import keep_session

# How often those who work over a link ask it, and how long it may take to answer: together the time after which a
# frozen broker is left. The heartbeats of the client library take 33 s.
CHECK_INTERVAL_S: Final = 3.0
ANSWER_LIMIT_S: Final = 12.0
# A process to which the broker has owed an answer, or a confirm, for longer than this is not ready.
DOUBT_AFTER_S: Final = 5.0


class QueueProbe:
    """Asks one connection about queues, on a channel of its own that it keeps: one round trip a queue."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._channel: AbstractChannel | None = None
        self._asked_s: float | None = None

    async def counts(self, queues: Sequence[str]) -> dict[str, int | None]:
        """How many messages are ready in each queue; None where there is no such queue.

        Raises:
            Unavailable: the broker did not answer a question within `ANSWER_LIMIT_S`; the link is of no use.
        """
        return {name: await self._answer(self._count(name)) for name in queues}

    def unanswered_s(self) -> float:
        """For how long the broker has owed an answer."""
        return 0.0 if self._asked_s is None else asyncio.get_running_loop().time() - self._asked_s

    async def _count(self, queue: str) -> int | None:
        if self._channel is None:
            self._channel = await self._connection.channel(publisher_confirms=False)
        try:
            found = await self._channel.declare_queue(queue, passive=True)
        except ChannelNotFoundEntity:
            # The broker closes the channel on which a queue is asked for that is not there.
            self._channel = None
            return None
        return found.declaration_result.message_count

    async def _answer(self, question: Awaitable[int | None]) -> int | None:
        self._asked_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                return await question
        except TimeoutError:
            raise Unavailable(f"the broker has not answered for {ANSWER_LIMIT_S:g} s") from None
        finally:
            self._asked_s = None


class QueueDepths(Component):
    """Reports to `on_look` every `interval_s` how many messages are ready in each queue; a component of a process.

    A queue that is missing counts as empty. While the broker cannot be asked nothing is reported. It is no condition
    of the process's readiness: what publishes knows itself whether it can.
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

    async def close(self) -> None:
        """Stop looking and close the link."""
        if self._task is not None:
            self._stop.set()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _session(self, connection: AbstractConnection) -> None:
        probe = QueueProbe(connection)
        while not self._stop.is_set():
            counts = await probe.counts(self._queues)
            self._on_look({name: count or 0 for name, count in counts.items()})
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._stop.wait()
