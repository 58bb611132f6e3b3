"""Taking everything out of a queue that is to be deleted, and being sure that nothing is left in it.

No single look proves that. The broker answers one at a quorum queue with 0 messages and 0 consumers where the queue's
leader does not answer it within a quarter of a second. It counts neither what consumers hold, which comes back when
they end, nor what it is dead-lettering: that is kept in a list of its own until the other queues have confirmed it, and
is sent again after `dead_letter_worker_publisher_confirm_timeout`, or up to twice that. So messages are taken by a
consumer, which a true look counts, and nothing may be seen for longer than that.
Source: https://github.com/rabbitmq/rabbitmq-server (rabbit_quorum_queue:stat/2, rabbit_fifo_dlx_worker)
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from wavecom_common.kernel.errors import Unavailable

# Moved together: published side by side, and acknowledged when all are confirmed.
_AT_ONCE: Final = 100
_CONFIRM_TIMEOUT_S: Final = 30.0
_LOOK_INTERVAL_S: Final = 0.5
_ANSWER_LIMIT_S: Final = 30.0


class Emptying:
    """Of one queue, to which nothing is routed any more.

    Args:
        channel: of its own, with confirms.
        source: the queue.
        quiet_s: for how long it has to be empty and read by nobody else, see the module.
        move: returns when the broker has confirmed the message to another queue.
        wait_for_consumers: is called with their number while there are others.
        require_room: raises when a queue refuses what is being dead-lettered into it.
    """

    def __init__(
        self,
        channel: AbstractChannel,
        source: str,
        *,
        quiet_s: float,
        move: Callable[[AbstractIncomingMessage], Awaitable[None]],
        wait_for_consumers: Callable[[int], Awaitable[None]],
        require_room: Callable[[], Awaitable[None]],
    ) -> None:
        self._channel = channel
        self._source = source
        self._quiet_s = quiet_s
        self._move = move
        self._wait_for_consumers = wait_for_consumers
        self._require_room = require_room
        self._taken: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        self._busy_s = self._answered_s = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Return when everything is moved.

        Raises:
            Unavailable: the queue's leader does not answer.
        """
        await self._channel.set_qos(2 * _AT_ONCE)
        source = await self._channel.get_queue(self._source, ensure=False)
        while True:
            tag = await source.consume(self._taken.put)
            while await self._move_some() or not await self._is_quiet():
                pass
            await source.cancel(tag)
            if self._taken.empty():
                return

    async def _move_some(self) -> bool:
        batch = await self._next()
        if not batch:
            return False
        async with asyncio.timeout(_CONFIRM_TIMEOUT_S):
            await asyncio.gather(*map(self._move, batch))
        await batch[-1].ack(multiple=True)
        self._busy_s = asyncio.get_running_loop().time()
        return True

    async def _is_quiet(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        look = (await self._channel.declare_queue(self._source, passive=True)).declaration_result
        others = (look.consumer_count or 0) - 1
        if others < 0:
            # Not even our own consumer was counted.
            if now_s - self._answered_s > _ANSWER_LIMIT_S:
                raise Unavailable(f"the leader of queue {self._source} has not answered for {_ANSWER_LIMIT_S:g} s")
            return False
        self._answered_s = now_s
        if others:
            await self._wait_for_consumers(others)
        if others or look.message_count:
            self._busy_s = asyncio.get_running_loop().time()
        await self._require_room()
        return now_s - self._busy_s >= self._quiet_s and self._taken.empty()

    async def _next(self) -> list[AbstractIncomingMessage]:
        """What was taken, after a moment; none when nothing comes."""
        batch: list[AbstractIncomingMessage] = []
        try:
            async with asyncio.timeout(_LOOK_INTERVAL_S):
                batch.append(await self._taken.get())
        except TimeoutError:
            return batch
        while len(batch) < _AT_ONCE and not self._taken.empty():
            batch.append(self._taken.get_nowait())
        return batch
