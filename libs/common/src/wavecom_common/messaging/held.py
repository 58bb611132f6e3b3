"""Which messages a process holds, and for how long: what the broker does not count among those that wait."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from wavecom_proto.v1.events_pb2 import Event


class HeldMessages:
    """The messages that are being handled now, also while their handling waits for a server to come back."""

    def __init__(self) -> None:
        self._held: dict[object, tuple[str, float, Sequence[Event]]] = {}

    @contextmanager
    def holding(self, queue: str, events: Sequence[Event]) -> Iterator[None]:
        """A message of these events is held until the end of the block."""
        key = object()
        self._held[key] = (queue, asyncio.get_running_loop().time(), events)
        try:
            yield
        finally:
            del self._held[key]

    def oldest_ms(self, *, held_for_s: float) -> Mapping[str, int]:
        """When the oldest event of each queue was due, in ms since the epoch; only of messages held for so long."""
        until_s = asyncio.get_running_loop().time() - held_for_s
        oldest: dict[str, int] = {}
        for queue, since_s, events in self._held.values():
            if since_s <= until_s and events:
                # An order of an attempt carries the time it is for.
                due_at_ms = min(event.occurred_at_ms for event in events)
                oldest[queue] = min(due_at_ms, oldest.get(queue, due_at_ms))
        return oldest
