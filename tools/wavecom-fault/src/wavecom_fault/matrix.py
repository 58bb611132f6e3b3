"""Which fault strikes whom, in which order: decided by a seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

PROCESSES: Final = (
    "ingest-api",
    "dispatcher",
    "email-sender",
    "sms-sender",
    "push-sender",
    "status-projector",
    "status-query",
)
SERVERS: Final = ("rabbitmq", "mongodb")
VICTIMS: Final = (*PROCESSES, *SERVERS)


class Fault(Enum):
    """What is done to a process."""

    KILL = "SIGKILL"
    TERM = "SIGTERM"
    STOP = "SIGSTOP"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Strike:
    """One row of the matrix. It comes `after_s` of undisturbed load; a stop lasts `hold_s`."""

    victim: str
    fault: Fault
    after_s: float
    hold_s: float


def strikes(seed: int, count: int | None = None) -> Sequence[Strike]:
    """Every victim with every fault, once, in random order; or the first `count` of them."""
    dice = random.Random(seed)
    pairs = [(victim, fault) for victim in VICTIMS for fault in Fault]
    dice.shuffle(pairs)
    return [_strike(dice, victim, fault) for victim, fault in pairs[:count]]


def kills(seed: int) -> Iterator[Strike]:
    """SIGKILL for every victim, in random order, again and again without end."""
    dice = random.Random(seed)
    while True:
        for victim in dice.sample(VICTIMS, len(VICTIMS)):
            yield _strike(dice, victim, Fault.KILL)


def _strike(dice: random.Random, victim: str, fault: Fault) -> Strike:
    return Strike(victim, fault, round(dice.uniform(0.5, 3.0), 2), round(dice.uniform(2.0, 6.0), 2))
