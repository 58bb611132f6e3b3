"""Acknowledgements of one channel, written together: one frame for a run of finished messages.

An ack only says what we no longer need; it may be lost with the link, and then the message comes again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

LINGER_S: Final = 0.005

AckWriter = Callable[[int, bool], Awaitable[None]]
Returner = Callable[[int], Awaitable[None]]


class Acks:
    """Knows which delivery tags of a channel are outstanding and acknowledges those that are finished.

    `write(tag, multiple)` sends one basic.ack, `give_back(tag)` one basic.nack that puts the message back into its
    queue. Tags start at 1 and rise by one, as AMQP 0-9-1 says.
    """

    def __init__(self, write: AckWriter, give_back: Returner) -> None:
        self._write = write
        self._give_back = give_back
        self._outstanding: dict[int, None] = {}
        self._finished: list[int] = []
        self._left: list[int] = []
        self._writing = asyncio.Lock()
        self._flushing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def delivered(self, tag: int) -> None:
        """A message came in."""
        self._outstanding[tag] = None

    def finish(self, tag: int) -> None:
        """The message is dealt with; its ack follows within a few milliseconds."""
        del self._outstanding[tag]
        self._finished.append(tag)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._start_flush)

    def leave(self, tag: int) -> None:
        """Nobody will deal with the message; see `give_back_left`."""
        self._left.append(tag)

    async def give_back_left(self) -> None:
        """Put what was left back into its queue. Not while the queue is consumed here: it would come again at once."""
        async with self._writing:
            while self._left:
                tag = self._left.pop()
                await self._give_back(tag)
                # Not before: no run of acks may cover what is still on its way back.
                del self._outstanding[tag]

    async def flush(self) -> None:
        """Write what is finished now."""
        # One after the other: a run written while an earlier flush still has a single tag to write would cover that
        # tag, and acknowledging it again makes the broker close the channel.
        async with self._writing:
            finished, self._finished = sorted(self._finished), []
            lowest_outstanding = next(iter(self._outstanding), None)
            below = [tag for tag in finished if lowest_outstanding is None or tag < lowest_outstanding]
            if below:
                await self._write(below[-1], True)
            for tag in finished[len(below) :]:
                await self._write(tag, False)

    def _start_flush(self) -> None:
        self._timer = None
        self._flushing = asyncio.get_running_loop().create_task(self.flush())
