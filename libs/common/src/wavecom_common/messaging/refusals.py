"""What a negative confirm means: a full queue, or a channel that the broker serves badly.

RabbitMQ 3.10 nacks what a channel publishes to a queue for the first time while the queue's recorded leader is dead,
and goes on for as long as that channel lives; on a channel opened a moment later everything is confirmed. Where the
leader is frozen, the record names it until the nodes have given it up, some 18 s with a net tick of 15 s.

A nack itself gives no reason. A queue without a leader shows a depth of 0; but so does a full one whose readers hold
all of it, and how much is full is not known, since a policy may set another limit than ours.
"""

from collections.abc import Collection
from typing import Final

GRACE_S: Final = 10.0
FIRST_TRUST_S: Final = 10.0
MAX_TRUST_S: Final = 60.0


class Refusals:
    """Decides for each nack whether it is believed.

    Where all queues that the message reaches have confirmed something on the same channel, one is full. Otherwise the
    channel is in doubt: `believe` what it nacks for a while when the queues are seen to have a leader, or else open
    another one. When that has gone on for `GRACE_S`, what the next channel nacks is believed for a while. That doubles
    as long as it goes on.
    """

    def __init__(self) -> None:
        self._confirmed: set[str] = set()
        self._doubted: set[str] = set()
        self._doubted_since_s = self._last_doubt_s = float("-inf")
        self._trust_s = FIRST_TRUST_S
        self._trusted_until_s = float("-inf")

    def opened(self) -> None:
        """There is a new channel."""
        self._confirmed.clear()

    def confirmed(self, queues: Collection[str]) -> None:
        """A message to these queues was confirmed."""
        self._confirmed.update(queues)
        if not self._doubted.isdisjoint(queues):
            self._doubted.clear()
            self._trust_s = FIRST_TRUST_S

    def full(self, queues: Collection[str], now_s: float) -> bool:
        """Whether a nack of a message to these queues means a full one; False: the channel is in doubt."""
        if self._confirmed.issuperset(queues) or now_s < self._trusted_until_s:
            return True
        if not self._doubted or now_s - self._last_doubt_s > 2 * MAX_TRUST_S:
            self._doubted_since_s, self._trust_s = now_s, FIRST_TRUST_S
        self._last_doubt_s = now_s
        self._doubted.update(queues)
        if now_s - self._doubted_since_s >= GRACE_S:
            self.believe(now_s)
        return False

    def believe(self, now_s: float) -> None:
        """Believe what is nacked from now on, for a while."""
        self._trusted_until_s = now_s + self._trust_s
        self._trust_s = min(2 * self._trust_s, MAX_TRUST_S)
