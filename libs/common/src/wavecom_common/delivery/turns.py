"""Waiting for a turn: a slot by priority, and a line to the provider."""

from collections.abc import Sequence
from typing import Final

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.delivery.connections import Connections, Line, Unconnected
from wavecom_common.delivery.slots import Slots
from wavecom_common.kernel.errors import Draining, Unavailable
from wavecom_common.kernel.retrying import unless_left
from wavecom_common.messaging.incoming import Incoming

# How long a message that is handled alone may wait for a provider that is away.
_ALONE_PATIENCE_S: Final = 5.0


class Turns:
    """At most `max_in_flight` deliveries hold a turn at once, each with a line of its own."""

    def __init__(self, lines: Connections | Unconnected, max_in_flight: int) -> None:
        self._lines = lines
        self._slots = Slots(max_in_flight)

    async def take(self, incoming: Incoming, events: Sequence[Event]) -> Sequence[Line]:
        """Turns for the first of these events of one message, at least for one: a line for each.

        Raises:
            Draining: the message is left before its turn.
            Unavailable: the message is handled alone and the provider is away: that is no fault of its own.
        """
        # All events of a message are of one priority: they came through one queue.
        priority, abandoned = events[0].priority, incoming.link.abandoned
        patience_s = _ALONE_PATIENCE_S if incoming.past.quarantined else None
        while True:
            try:
                lines = await unless_left(self._acquire(priority, len(events)), abandoned, timeout_s=patience_s)
            except TimeoutError:
                if self._lines.unavailable is not None:
                    raise Unavailable(f"the provider is away: {self._lines.unavailable}") from None
                continue
            if not abandoned.is_set():
                return lines
            for line in lines:
                self.end(line)
            raise Draining("left before its turn")

    def end(self, line: Line) -> None:
        """Give a turn back, and its line, if that was not released before."""
        line.release()
        self._slots.release()

    async def _acquire(self, priority: str, at_most: int) -> Sequence[Line]:
        # In this order: a wait for a slot lasts only until others have stored what they know.
        lines = await self._lines.acquire(priority, at_most)
        count = 0
        try:
            count = await self._slots.acquire(priority, len(lines))
        finally:
            for line in lines[count:]:
                line.release()
        return lines[:count]
