"""What is done with a message that came back, by how often it did. Pure.

A message that kills its process leaves no trace but its return, and all that were in flight with it come back as well;
so does everything after a lost link. So a message that came back too often is quarantined: it is only handled with no
other quarantined message in flight, and then only the guilty one comes back.
"""

from dataclasses import dataclass
from enum import Enum, auto


@dataclass(frozen=True, slots=True)
class Limits:
    """How often a message may come back until something else is done with it."""

    # Before it is quarantined.
    redeliveries: int = 10
    # Of a quarantined message: before it is taken apart into its events, or given up when it has only one.
    trials: int = 5
    # After that: reading it kills as well, so it is given up unread.
    splits: int = 5
    # As the broker counts, whatever the reason: at `topology.DELIVERY_LIMIT` it takes the message away.
    counted: int = 50


@dataclass(frozen=True, slots=True)
class Counters:
    """What is known of a message's past.

    `delivery_count`: how often the broker gave it out before, in its present form. `carried`: how often it came back in
    earlier forms. `left`: how often of these this process left it to the broker and lived: no fault of the message's.
    """

    delivery_count: int = 0
    carried: int = 0
    left: int = 0
    quarantined: bool = False

    @property
    def returns(self) -> int:
        """How often it came back for what may be its own fault, since it was quarantined or first published."""
        return max(0, self.carried + self.delivery_count - self.left)


class Decision(Enum):
    """What is done with a message, before anything is read of it."""

    HANDLE = auto()
    # Only with no other quarantined message in flight; until then it is sent back.
    HANDLE_ALONE = auto()
    # As HANDLE_ALONE, but each event becomes a message of its own, and an event that is one already is given up.
    SPLIT = auto()
    # Send it back, quarantined and counted afresh.
    ISOLATE = auto()
    # Send it back as it is, its returns in a header: the broker counts afresh.
    REPUBLISH = auto()
    # Dead-letter it unread, as it came.
    GIVE_UP = auto()


def decide(counters: Counters, limits: Limits) -> Decision:
    """Every message ends: each decision but those that handle it lowers the broker's count or ends it."""
    returns = counters.returns
    if counters.quarantined and returns > limits.trials + limits.splits:
        return Decision.GIVE_UP
    if counters.quarantined and returns > limits.trials:
        return Decision.SPLIT
    if not counters.quarantined and returns > limits.redeliveries:
        return Decision.ISOLATE
    if counters.delivery_count > limits.counted:
        return Decision.REPUBLISH
    return Decision.HANDLE_ALONE if counters.quarantined else Decision.HANDLE
