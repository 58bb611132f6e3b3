"""How many deliveries run at once, and whose turn is next."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# Of every 21 turns with all three waiting, high gets 16, medium 4 and low 1: high goes first, low never starves. A turn
# is a message's, of one event or of a hundred.
WEIGHTS: Final[Mapping[str, int]] = {"high": 16, "medium": 4, "low": 1}


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    """Somebody who waits, and for how many slots."""

    given: asyncio.Future[int]
    at_most: int


class Slots:
    """A bounded number of slots, given out by priority with smooth weighted round-robin among those that wait.

    Source: the nginx upstream balancer's algorithm, https://github.com/nginx/nginx/commit/52327e0627f4
    """

    def __init__(self, count: int, weights: Mapping[str, int] = WEIGHTS) -> None:
        self._free = count
        self._weights = weights
        self._lowest = min(weights, key=lambda priority: weights[priority])
        self._waiting: dict[str, deque[_Turn]] = {priority: deque() for priority in weights}
        self._credit = dict.fromkeys(weights, 0)
        self._granting = False

    async def acquire(self, priority: str, at_most: int = 1) -> int:
        """Wait for a turn and take the slots that are free then: at least one, and no more than `at_most`.

        A priority that is not known waits with the lowest.
        """
        turn = _Turn(asyncio.get_running_loop().create_future(), at_most)
        self._waiting.get(priority, self._waiting[self._lowest]).append(turn)
        if self._free and not self._granting:
            self._grant()
        try:
            return await turn.given
        except asyncio.CancelledError:
            if turn.given.done() and not turn.given.cancelled():
                self.release(turn.given.result())
            raise

    def release(self, count: int = 1) -> None:
        """Give slots back. What is given back in one turn of the event loop is given on together."""
        self._free += count
        if not self._granting:
            self._granting = True
            asyncio.get_running_loop().call_soon(self._grant)

    def _grant(self) -> None:
        self._granting = False
        while self._free and (turn := self._next()) is not None:
            if not turn.given.done():
                given = min(self._free, turn.at_most)
                self._free -= given
                turn.given.set_result(given)

    def _next(self) -> _Turn | None:
        candidates = [priority for priority, queue in self._waiting.items() if queue]
        if not candidates:
            return None
        for priority in candidates:
            self._credit[priority] += self._weights[priority]
        chosen = max(candidates, key=lambda priority: self._credit[priority])
        self._credit[chosen] -= sum(self._weights[priority] for priority in candidates)
        return self._waiting[chosen].popleft()
