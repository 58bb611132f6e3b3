"""Which fault strikes whom, in which order: decided by a seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from wavecom_stack.services import SERVICES

PROCESSES: Final = tuple(service.name for service in SERVICES)
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


@dataclass(frozen=True, slots=True)
class Choice:
    """A part of the matrix: None is all of them, or a length by chance."""

    victim: str | None = None
    fault: Fault | None = None
    hold_s: float | None = None


ALL: Final = Choice()


def strikes(seed: int, count: int | None = None, choice: Choice = ALL) -> Sequence[Strike]:
    """Every victim with every fault that was chosen, once, in random order; or the first `count` of them."""
    dice = random.Random(seed)
    pairs = [(victim, fault) for victim in VICTIMS for fault in Fault]
    dice.shuffle(pairs)
    chosen = [
        (victim, fault) for victim, fault in pairs if choice.victim in (None, victim) and choice.fault in (None, fault)
    ]
    planned = [_strike(dice, victim, fault) for victim, fault in chosen[:count]]
    return planned if choice.hold_s is None else [replace(strike, hold_s=choice.hold_s) for strike in planned]


def kills(seed: int) -> Iterator[Strike]:
    """SIGKILL for every victim, in random order, again and again without end."""
    dice = random.Random(seed)
    while True:
        for victim in dice.sample(VICTIMS, len(VICTIMS)):
            yield _strike(dice, victim, Fault.KILL)


def random_strikes(seed: int, seconds: float) -> Iterator[Strike]:
    """A random fault for a random victim every 2 to 5 s, for so long: no strike minds what became of those before."""
    dice = random.Random(seed)
    left_s = seconds
    while (left_s := left_s - (after_s := round(dice.uniform(2.0, 5.0), 2))) >= 0:
        yield Strike(dice.choice(VICTIMS), dice.choice(list(Fault)), after_s, round(dice.uniform(1.0, 6.0), 2))


def _strike(dice: random.Random, victim: str, fault: Fault) -> Strike:
    return Strike(victim, fault, round(dice.uniform(0.5, 3.0), 2), round(dice.uniform(2.0, 6.0), 2))
