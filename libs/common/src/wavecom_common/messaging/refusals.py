"""What a negative confirm means: a full queue, or a channel that the broker serves badly.

RabbitMQ 3.10 nacks what a channel publishes to a queue for the first time while the queue's recorded leader is dead,
and goes on for as long as that channel lives; on a channel opened a moment later everything is confirmed. Where the
leader is frozen, the record names it until the nodes have given it up, some 18 s with a net tick of 15 s.

A nack itself gives no reason, and the depth of a queue shows none: what its readers hold counts against its limit, and
a policy may set another limit than ours.
"""

from collections.abc import Hashable
from typing import Final

GRACE_S: Final = 10.0
FIRST_TRUST_S: Final = 10.0
MAX_TRUST_S: Final = 60.0


class Refusals:
    """Decides for each nack whether it is believed.

    A queue that has confirmed something on the same channel is full. Otherwise the channel is in doubt, and another one
    has to be opened. When that has gone on for `GRACE_S`, what the next channel nacks is believed, for a while that
    doubles as long as it goes on.
    """

    def __init__(self) -> None:
        self._confirmed: set[Hashable] = set()
        self._doubted: set[Hashable] = set()
        self._doubted_since_s = self._last_doubt_s = float("-inf")
        self._trust_s = FIRST_TRUST_S
        self._trusted_until_s = float("-inf")

    def opened(self) -> None:
        """There is a new channel."""
        self._confirmed.clear()

    def confirmed(self, key: Hashable) -> None:
        """A message under this key was confirmed."""
        self._confirmed.add(key)
        if key in self._doubted:
            self._doubted.clear()
            self._trust_s = FIRST_TRUST_S

    def full(self, key: Hashable, now_s: float) -> bool:
        """Whether a nack under this key means a full queue; False: leave the channel for a new one."""
        if key in self._confirmed or now_s < self._trusted_until_s:
            return True
        if not self._doubted or now_s - self._last_doubt_s > 2 * MAX_TRUST_S:
            self._doubted_since_s, self._trust_s = now_s, FIRST_TRUST_S
        self._last_doubt_s = now_s
        self._doubted.add(key)
        if now_s - self._doubted_since_s >= GRACE_S:
            self._trusted_until_s = now_s + self._trust_s
            self._trust_s = min(2 * self._trust_s, MAX_TRUST_S)
        return False
