"""Asking how many messages wait in queues; a broker that does not answer is noticed by it.

The broker answers 0 messages and 0 consumers where a quorum queue's leader does not answer it within a quarter of a
second. So a 0 of a queue without consumers is doubtful.
Source: https://github.com/rabbitmq/rabbitmq-server (rabbit_quorum_queue:stat/2)
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Final

from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq import spec
from aiormq.exceptions import ChannelAccessRefused

from wavecom_common.kernel.component import Component
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.kernel.tasks import spawn_vital
from wavecom_common.messaging.connection import keep_session
from wavecom_common.messaging.topology import migrating_name

# How often those who work over a link ask it, and how long it may take to answer: together the time after which a
# frozen broker is left. The heartbeats of the client library take 33 s.
CHECK_INTERVAL_S: Final = 3.0
ANSWER_LIMIT_S: Final = 12.0
# A process to which the broker has owed an answer, or a confirm, for longer than this is not ready.
DOUBT_AFTER_S: Final = 5.0
# A migration takes longer than this. Each question about a queue that is not there costs a channel.
_MIGRATION_INTERVAL_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Depth:
    """What waits for the readers of a queue."""

    # Ready messages, in the queue and in the one that a migration keeps beside it.
    ready: int
    # The queue shows messages or consumers, so its leader was asked.
    certain: bool


class QueueProbe:
    """Asks one connection about queues, on a channel of its own that it keeps: one round trip a queue."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._channel: AbstractChannel | None = None
        self._asked_s: float | None = None
        # When it was seen that no migration keeps anything beside a queue.
        self._alone_s: dict[str, float] = {}

    async def counts(self, queues: Sequence[str]) -> dict[str, int | None]:
        """How many messages are ready in each queue; None where there is no such queue.

        Raises:
            Unavailable: the broker did not answer a question within `ANSWER_LIMIT_S`; the link is of no use.
        """
        found = {name: await self._look(name) for name in queues}
        return {name: None if one is None else one.message_count or 0 for name, one in found.items()}

    async def depths(self, queues: Sequence[str], *, migrating: bool = True) -> dict[str, Depth | None]:
        """What waits for the readers of each queue; None where there is no such queue. Raises as `counts` does.

        While a queue is made anew nobody reads it, and its messages wait in another one, see `migration`. Where a queue
        has no consumers that one is asked for too, unless `migrating` is False.
        """
        return {name: await self._depth(name, migrating) for name in queues}

    def unanswered_s(self) -> float:
        """For how long the broker has owed an answer."""
        return 0.0 if self._asked_s is None else asyncio.get_running_loop().time() - self._asked_s

    async def _depth(self, queue: str, migrating: bool) -> Depth | None:
        found = await self._look(queue)
        ready, consumers = (0, 0) if found is None else (found.message_count or 0, found.consumer_count or 0)
        beside = await self._look_beside(queue) if migrating and not consumers else None
        if found is None and beside is None:
            return None
        ready += 0 if beside is None else beside.message_count or 0
        return Depth(ready, certain=bool(ready or consumers))

    async def _look_beside(self, queue: str) -> spec.Queue.DeclareOk | None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._alone_s.get(queue, -inf) < _MIGRATION_INTERVAL_S:
            return None
        try:
            found = await self._look(migrating_name(queue))
        except ChannelAccessRefused:
            # From RabbitMQ 4.3 on, for a user with rights of an earlier version.
            self._channel, found = None, None
        if found is None:
            self._alone_s[queue] = now_s
        return found

    async def _look(self, queue: str) -> spec.Queue.DeclareOk | None:
        self._asked_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                return await self._ask(queue)
        except TimeoutError:
            raise Unavailable(f"the broker has not answered for {ANSWER_LIMIT_S:g} s") from None
        finally:
            self._asked_s = None

    async def _ask(self, queue: str) -> spec.Queue.DeclareOk | None:
        if self._channel is None:
            self._channel = await self._connection.channel(publisher_confirms=False)
        try:
            return (await self._channel.declare_queue(queue, passive=True)).declaration_result
        except ChannelNotFoundEntity:
            # The broker closes the channel on which a queue is asked for that is not there.
            self._channel = None
            return None


class Believed:
    """Of looks one after the other, what to go by: a doubtful 0 counts when the look before was one, too. Pure."""

    def __init__(self) -> None:
        self._shown: dict[str, int] = {}
        self._doubtful: frozenset[str] = frozenset()

    def after(self, found: Mapping[str, Depth | None]) -> Mapping[str, int]:
        """What waits in each queue; 0 in one that is missing."""
        doubtful = frozenset(name for name, one in found.items() if one is None or not one.certain)
        kept = doubtful - self._doubtful
        self._doubtful = doubtful
        self._shown = {
            name: self._shown.get(name, 0) if name in kept else one.ready if one else 0 for name, one in found.items()
        }
        return self._shown


class QueueDepths(Component):
    """Reports to `on_look` every `interval_s` what waits for the readers of each queue; a component of a process.

    A queue that is missing counts as empty, and one is empty once that is no doubtful answer. While the broker cannot
    be asked nothing is reported. It is no condition of the process's readiness: what publishes knows itself whether it
    can.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        queues: Sequence[str],
        on_look: Callable[[Mapping[str, int]], None],
        interval_s: float = 1.0,
        migrating: bool = True,
    ) -> None:
        """`migrating`: see `QueueProbe.depths`."""
        self._url = url
        self._name = f"{name} depths"
        self._queues = queues
        self._on_look = on_look
        self._interval_s = interval_s
        self._migrating = migrating
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
        probe, believed = QueueProbe(connection), Believed()
        while not self._stop.is_set():
            self._on_look(believed.after(await probe.depths(self._queues, migrating=self._migrating)))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._stop.wait()
