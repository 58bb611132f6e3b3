"""Reading one's own writes: an id that is not there yet but was just made is waited for, briefly and bounded.

The id says when it was made. The projector is usually some milliseconds behind the answer that gave the id away.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.errors import Overloaded
from wavecom_common.kernel.ids import id_time_ms

_FIRST_WAIT_S: Final = 0.01
_LONGEST_WAIT_S: Final = 0.25

Found = TypeVar("Found")


class ReadYourWrites:
    """Looks again for what was not found, as long as its id is young."""

    def __init__(self, *, window_s: float, most_s: float, max_waiting: int, clock: Clock = SYSTEM_CLOCK) -> None:
        """An id is young for `window_s`; a call waits `most_s` at most, and `max_waiting` calls at a time."""
        self._window_ms = window_s * 1000
        self._most_ms = most_s * 1000
        self._max_waiting = max_waiting
        self._clock = clock
        self._waiting = 0

    async def find(self, notification_id: str, look: Callable[[], Awaitable[Found | None]]) -> Found | None:
        """What `look` finds, now or within the bound; else None.

        Raises:
            Overloaded: too many calls wait already. Whether the id will be there is not known.
        """
        found = await look()
        if found is not None or not self._is_young(notification_id):
            return found
        if self._waiting >= self._max_waiting:
            raise Overloaded(f"{self._max_waiting} queries wait for new notifications already")
        self._waiting += 1
        try:
            return await self._look_again(look)
        finally:
            self._waiting -= 1

    async def _look_again(self, look: Callable[[], Awaitable[Found | None]]) -> Found | None:
        until_ms = self._clock.now_ms() + self._most_ms
        wait_s, found = _FIRST_WAIT_S, None
        while found is None and self._clock.now_ms() < until_ms:
            await self._clock.sleep(wait_s)
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            found = await look()
        return found

    def _is_young(self, notification_id: str) -> bool:
        # Either way: the id was made by another machine's clock, and to the second.
        return abs(self._clock.now_ms() - id_time_ms(notification_id)) < self._window_ms
