"""What is done to the servers of a cluster, in which order: decided by a seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Blow(Enum):
    """One fault. A leader is the node that leads most of the broker's queues at that moment."""

    LEADER_KILLED = "leader killed"
    FOLLOWER_KILLED = "follower killed"
    LEADER_FROZEN = "leader frozen"
    FOLLOWER_FROZEN = "follower frozen"
    NODE_CUT_OFF = "node cut off"
    TWO_AWAY = "two of three away"
    PRIMARY_KILLED = "primary killed"
    PRIMARY_CUT_OFF = "primary cut off"

    @property
    def on_database(self) -> bool:
        """Whether MongoDB is hit; else it is the broker."""
        return self in {Blow.PRIMARY_KILLED, Blow.PRIMARY_CUT_OFF}

    @property
    def on_follower(self) -> bool:
        """Whether it hits the node that leads the fewest queues, else the one that leads most."""
        return self in {Blow.FOLLOWER_KILLED, Blow.FOLLOWER_FROZEN}

    @property
    def freezes(self) -> bool:
        """Whether the server stands still; else it is cut off or killed."""
        return self in {Blow.LEADER_FROZEN, Blow.FOLLOWER_FROZEN}

    @property
    def cuts(self) -> bool:
        """Whether it is between the servers: clients still reach all of them."""
        return self in {Blow.NODE_CUT_OFF, Blow.PRIMARY_CUT_OFF}

    @property
    def majority(self) -> bool:
        """Whether two of three can go on."""
        return self is not Blow.TWO_AWAY


@dataclass(frozen=True, slots=True)
class Plan:
    """One row: after `after_s` of undisturbed load, for `hold_s`; what was killed is not started again before."""

    blow: Blow
    after_s: float
    hold_s: float


_HOLD_S: Final = {
    Blow.LEADER_KILLED: 30.0,
    Blow.FOLLOWER_KILLED: 20.0,
    Blow.LEADER_FROZEN: 60.0,
    Blow.FOLLOWER_FROZEN: 60.0,
    Blow.NODE_CUT_OFF: 60.0,
    Blow.TWO_AWAY: 20.0,
    Blow.PRIMARY_KILLED: 30.0,
    Blow.PRIMARY_CUT_OFF: 60.0,
}


def plans(seed: int, count: int | None = None, *, hold_s: float | None = None) -> Sequence[Plan]:
    """Every fault once, in random order; or the first `count` of them."""
    dice = random.Random(seed)
    blows = dice.sample(list(Blow), len(Blow))
    return [
        Plan(blow, round(dice.uniform(4.0, 8.0), 2), _HOLD_S[blow] if hold_s is None else hold_s)
        for blow in blows[:count]
    ]
