"""What becomes of one event after it was handled: a value the handler returns and the consumer carries out."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Ack:
    """It is dealt with."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Handle it again after `delay_ms`, held by the broker."""

    delay_ms: int
    reason: str
    # 1 when handling it failed, which is counted against it; 0 when it only came too early.
    failed: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """It can't be handled; an operator will look at it. `reason` names why, without content or addresses."""

    reason: str
    # Whether its notification fails with it, which is then told. Not when its end was told already, and not when others
    # deliver it whatever becomes of this event.
    fails: bool = True


Outcome = Ack | Retry | DeadLetter
ACK: Final = Ack()
