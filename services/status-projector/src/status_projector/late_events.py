"""Events that come after their notification was removed, such as a dead letter that is replayed.

Stored, such an event would be a notification without a request, or one that begins again. It is left out.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from wavecom_common.storage.client import Database
from wavecom_common.storage.event_store import EventStore
from wavecom_common.storage.maintenance import Maintenance
from wavecom_common.telemetry import metrics
from wavecom_common.telemetry.logs import get_logger
from wavecom_proto.v1.events_pb2 import Event

from status_projector.retention import WALKS

_CACHE_S: Final = 60.0

_log = get_logger()


class LateEvents:
    """Knows below which id notifications were removed, and asks the store about those only."""

    def __init__(self, database: Database) -> None:
        self._maintenance = Maintenance(database)
        self._store = EventStore(database)
        self._removed_before = ""
        self._read_at_s = float("-inf")

    async def without(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events whose notification was not removed.

        Raises:
            Unavailable: the database cannot be reached. Retryable.
        """
        loop = asyncio.get_running_loop()
        if loop.time() - self._read_at_s > _CACHE_S:
            self._removed_before = await self._maintenance.removed_before(WALKS)
            self._read_at_s = loop.time()
        old = {event.notification_id for event in events if event.notification_id < self._removed_before}
        if not old:
            return events
        removed = old - await self._store.known(old)
        kept = [event for event in events if event.notification_id not in removed]
        if removed:
            metrics.LATE_EVENTS.inc(len(events) - len(kept))
            _log.warning("late_events", events=len(events) - len(kept), notification_id=min(removed))
        return kept
