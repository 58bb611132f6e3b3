"""Events that come after their notification was removed, such as a dead letter that is replayed.

Stored, such an event would be a notification without a request, or one that begins again. It is left out.
"""

from collections.abc import Sequence

from wavecom_common.kernel.ids import first_id_of
from wavecom_common.storage.client import Database
from wavecom_common.telemetry import metrics
from wavecom_common.telemetry.logs import get_logger
from wavecom_proto.v1.events_pb2 import Event

from status_projector.retention.policy import SHORTEST_MS
from status_projector.retention.removal import WALKS
from status_projector.store.event_store import EventStore
from status_projector.store.maintenance import Maintenance

_log = get_logger()


class LateEvents:
    """Asks the database about notifications so old that they may have been removed, and about no others."""

    def __init__(self, database: Database) -> None:
        self._maintenance = Maintenance(database)
        self._store = EventStore(database)

    async def without(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events whose notification was not removed.

        Raises:
            Unavailable: the database cannot be reached. Retryable.
        """
        # Of these nothing was removed, whatever the periods are: nearly all events are about such.
        young = first_id_of(await self._maintenance.now_ms() - SHORTEST_MS)
        if all(event.notification_id >= young for event in events):
            return events
        removed_before = await self._maintenance.removed_before(WALKS)
        old = {event.notification_id for event in events if event.notification_id < removed_before}
        removed = old - await self._store.known(old)
        kept = [event for event in events if event.notification_id not in removed]
        if removed:
            metrics.LATE_EVENTS.inc(len(events) - len(kept))
            _log.warning("late_events", events=len(events) - len(kept), notification_id=min(removed))
        return kept
