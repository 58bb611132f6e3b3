"""How many deliveries run at once, and whose turn is next."""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Final

# Of every 21 turns with all three waiting, high gets 16, medium 4 and low 1: high goes first, low never starves.
WEIGHTS: Final[Mapping[str, int]] = {"high": 16, "medium": 4, "low": 1}


class Slots:
    """A bounded number of slots, given out by priority with smooth weighted round-robin among those that wait.

    Source: the nginx upstream balancer's algorithm, https://github.com/nginx/nginx/commit/52327e0627f4
    """

    def __init__(self, count: int, weights: Mapping[str, int] = WEIGHTS) -> None:
        self._free = count
        self._weights = weights
        self._lowest = min(weights, key=lambda priority: weights[priority])
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {priority: deque() for priority in weights}
        self._credit = dict.fromkeys(weights, 0)

    async def acquire(self, priority: str) -> None:
        """Wait for a slot. A priority that is not known waits with the lowest."""
        if self._free > 0:
            self._free -= 1
            return
        queue = self._waiting.get(priority, self._waiting[self._lowest])
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give a slot back, straight on to whoever is next."""
        while (turn := self._next()) is not None:
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _next(self) -> asyncio.Future[None] | None:
        candidates = [priority for priority, queue in self._waiting.items() if queue]
        if not candidates:
            return None
        for priority in candidates:
            self._credit[priority] += self._weights[priority]
        chosen = max(candidates, key=lambda priority: self._credit[priority])
        self._credit[chosen] -= sum(self._weights[priority] for priority in candidates)
        return self._waiting[chosen].popleft()
