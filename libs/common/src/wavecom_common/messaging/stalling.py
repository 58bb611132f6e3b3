"""How long a message may stay unconfirmed before its link is left for another one."""

from typing import Final

# A confirm that comes after six seconds, even one that a slow link holds back twice, is waited for.
STALL_LIMIT_S: Final = 12.0
MAX_STALL_LIMIT_S: Final = 160.0


class StallLimit:
    """The limit for one link at a time: doubled when links to all nodes were left, set back by a confirm.

    A confirm takes it to twice the time that the confirm took, and never below `first_s`. So a broker that is slow for
    everything is left a few times and then waited for: each link that is left costs a second copy of what was on it.
    """

    def __init__(self, first_s: float = STALL_LIMIT_S) -> None:
        self._first_s = first_s
        self._left = 0
        self.limit_s = first_s

    def confirmed(self, after_s: float) -> None:
        """A message was confirmed, so many seconds after it was sent."""
        self._left = 0
        self.limit_s = min(max(self._first_s, 2 * after_s), MAX_STALL_LIMIT_S)

    def left(self, nodes: int) -> None:
        """A link was left because a message on it stayed unconfirmed for longer than the limit; there are `nodes`."""
        self._left += 1
        if self._left % nodes == 0:
            self.limit_s = min(2 * self.limit_s, MAX_STALL_LIMIT_S)
