"""One message from the broker, as it came and as a handler sees it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import codec
from wavecom_common.messaging.headers import Past
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


@dataclass(slots=True)
class Raw:
    """A message as it came. It holds its body until that is decoded, and no longer: then its events are held."""

    queue: str
    message_id: str
    body: bytes
    content_type: str | None
    content_encoding: str | None
    # How often the broker gave it out before.
    delivery_count: int = 0
    past: Past = field(default_factory=Past)

    def decode(self) -> Sequence[Event]:
        """The events. To be called once, for the body is let go of.

        Raises:
            Undecodable: see `codec.decode`; the body is kept.
        """
        events = codec.decode(self.body, content_type=self.content_type, content_encoding=self.content_encoding)
        self.body = b""
        return events


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
    # Its returns include those of its present form.
    past: Past = field(default_factory=Past)

    @property
    def replayed(self) -> bool:
        """Whether an operator took it from the dead letters."""
        return self.past.replayed


# Returns one outcome per event, in order.
Handler = Callable[[Incoming], Awaitable[Sequence[Outcome]]]

# Says what becomes of an event that was tried too often, given the reason.
GiveUp = Callable[[Event, str], Awaitable[Outcome]]


async def dead_letter(_: Event, reason: str) -> Outcome:
    """Giving up where nobody else may still be at it."""
    return DeadLetter(reason)
