"""One message from the broker, as a handler sees it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.messaging.outcome import DeadLetter, Outcome


@dataclass(frozen=True, slots=True)
class Link:
    """The link over which messages came, as far as those who are at work on them need to know."""

    # Set when it is lost: the broker gives out again what came over it, whatever is done about it here.
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    # Set when it is lost or the process is stopping: what is not begun need not be, raise `Draining`.
    abandoned: asyncio.Event = field(default_factory=asyncio.Event)

    def lose(self) -> None:
        """It is gone."""
        self.lost.set()
        self.abandoned.set()


@dataclass(frozen=True, slots=True)
class Incoming:
    """The events of one message, of one routing key, and how the message came."""

    queue: str
    message_id: str
    events: Sequence[Event]
    # Set when the process is stopping: start nothing new, raise `Draining`.
    draining: asyncio.Event
    # Over which it came.
    link: Link = field(default_factory=Link)
    # How often the broker gave this message out before.
    redeliveries: int = 0
    # How often handling its event raised before; only a message of one event has failures.
    failures: int = 0
    # Whether it is to be tried with no other suspect beside it: it may be one that kills its handler.
    suspect: bool = False
    # Whether an operator took it from the dead letters.
    replayed: bool = False


# Returns one outcome per event, in order.
Handler = Callable[[Incoming], Awaitable[Sequence[Outcome]]]

# Says what becomes of an event that was tried too often, given the reason.
GiveUp = Callable[[Event, str], Awaitable[Outcome]]


async def dead_letter(_: Event, reason: str) -> Outcome:
    """Giving up where nobody else may still be at it."""
    return DeadLetter(reason)
