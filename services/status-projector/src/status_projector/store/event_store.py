"""Every event there was, append-only until its notification is removed whole: the system's memory."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from wavecom_common.events import types
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.storage import driver, names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import ASCENDING, Document
from wavecom_common.storage.errors import database_errors
from wavecom_common.storage.inserts import insert_new
from wavecom_proto.v1.events_pb2 import Event

from status_projector.store import event_document

# Settles the order of events of one millisecond.
_RANKS: Final = {event_type: rank for rank, event_type in enumerate(types.EVENT_TYPES)}
# More events than any notification has: the API bounds the attempts.
_TIMELINE_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True)
class Appended:
    """What the store holds after an append."""

    # One per event handed in, in order: itself, or the one that was stored under its id before.
    events: Sequence[Event]
    duplicates: int


class EventStore:
    """The events of all notifications, each once.

    Every call raises `Unavailable` (retryable) when the database cannot answer.
    """

    def __init__(self, database: Database, clock: Clock = SYSTEM_CLOCK) -> None:
        self._database = database
        self._clock = clock

    async def append(self, events: Sequence[Event]) -> Appended:
        """Store events; those stored before are left as they were first told.

        An event told again may differ (its clock went on), so the answer holds what the store holds: folding that
        keeps the read model equal to the fold of the store.

        Raises:
            Unstorable: the database will not take at least one of them; the others may have been written.
        """
        now_ms = self._clock.now_ms()
        documents = [event_document.to_document(event, now_ms) for event in events]
        duplicates = await insert_new(self._collection, documents)
        if not duplicates:
            return Appended(events, 0)
        stored = await self._stored({events[index].event_id for index in duplicates})
        return Appended([stored.get(event.event_id, event) for event in events], len(duplicates))

    async def timeline(self, tenant: str, notification_id: str) -> list[Event]:
        """The events of one notification of the tenant, oldest first, without content; empty where there is none."""
        query = _of(notification_id) | {"tenant": tenant}
        with database_errors():
            found = await self._collection.find(query, {"content": 0}).to_list(_TIMELINE_LIMIT)
        events = [event_document.from_document(document) for document in found]
        return sorted(events, key=lambda event: (event.occurred_at_ms, event.attempt, _RANKS.get(event.type, 0)))

    async def stream(self, *, after: str | None = None, page: int = 1000) -> AsyncIterator[Event]:
        """Every event with an id above `after`, by id: those of one notification together, notifications by age.

        Each page is a query of its own: a long walk survives a change of the primary, and can be taken up again.
        """
        query: Document = {"_id": {"$gt": after}} if after else {}
        while True:
            with database_errors():
                found = await self._collection.find(query, sort=[("_id", ASCENDING)], limit=page).to_list(page)
            for document in found:
                yield event_document.from_document(document)
            if len(found) < page:
                return
            query = {"_id": {"$gt": found[-1]["_id"]}}

    async def histories(self, *, after: str | None = None) -> AsyncIterator[tuple[str, list[Event]]]:
        """All events of each notification whose id is above `after`, by notification; see `stream`."""
        notification_id, events = "", list[Event]()
        # ":" follows the notification's id in every event's, and ";" follows ":".
        async for event in self.stream(after=f"{after};" if after else None):
            if event.notification_id != notification_id and events:
                yield notification_id, events
                events = []
            notification_id = event.notification_id
            events.append(event)
        if events:
            yield notification_id, events

    async def histories_of(self, notification_ids: Collection[str]) -> dict[str, list[Event]]:
        """All events of these notifications, by notification."""
        if not notification_ids:
            return {}
        with database_errors():
            found = await self._collection.find({"$or": [_of(one) for one in notification_ids]}).to_list(None)
        histories: dict[str, list[Event]] = {}
        for document in found:
            event = event_document.from_document(document)
            histories.setdefault(event.notification_id, []).append(event)
        return histories

    async def known(self, notification_ids: Collection[str]) -> set[str]:
        """Those of these notifications of which any event is stored."""
        found: set[str] = set()
        for notification_id in notification_ids:
            with database_errors():
                if await self._collection.find_one(_of(notification_id), {"_id": 1}) is not None:
                    found.add(notification_id)
        return found

    async def remove(self, notification_ids: Collection[str]) -> int:
        """Remove every event of these notifications, whose ids should be near to each other; how many there were.

        What ended a notification goes last: whoever reads between the two finds no notification that has to go on.
        """
        wanted = set(notification_ids)
        if not wanted:
            return 0
        between = {"_id": {"$gte": f"{min(wanted)}:", "$lt": f"{max(wanted)};"}}
        with database_errors():
            # Answered by the index: the ids say all there is to know.
            found = await self._collection.find(between, {"_id": 1}, hint=[("_id", ASCENDING)]).to_list(None)
        ids = [one["_id"] for one in found if one["_id"].partition(":")[0] in wanted]
        ends = [one for one in ids if one.rpartition(":")[2] in types.TERMINAL_TYPES]
        others = [one for one in ids if one.rpartition(":")[2] not in types.TERMINAL_TYPES]
        for group in (others, ends):
            if group:
                with database_errors():
                    await self._collection.delete_many({"_id": {"$in": group}})
        return len(ids)

    async def named_payloads(self, payload_ids: Collection[str]) -> set[str]:
        """Those of these payloads that a stored event names."""
        if not payload_ids:
            return set()
        with database_errors():
            # `$gt` is what the index is partial by.
            named = {"content.payloadId": {"$in": list(payload_ids), "$gt": ""}}
            return set(await self._collection.distinct("content.payloadId", named))

    async def estimated_count(self) -> int:
        """About how many events there are: for showing progress."""
        with database_errors():
            return await self._collection.estimated_document_count()

    async def _stored(self, event_ids: set[str]) -> dict[str, Event]:
        with database_errors():
            found = await self._collection.find({"_id": {"$in": list(event_ids)}}).to_list(len(event_ids))
        return {document["_id"]: event_document.from_document(document) for document in found}

    @property
    def _collection(self) -> driver.Collection:
        return self._database.collection(names.EVENTS, decides=False)


def _of(notification_id: str) -> Document:
    # An event's id begins with its notification's and ":", which ";" follows: the index that every collection has
    # anyway finds them, and a second one need not be kept up with every event. The other condition says nothing new: by
    # it a cluster knows which shard to ask, see `sharding`.
    return {"_id": {"$gte": f"{notification_id}:", "$lt": f"{notification_id};"}, "nid": notification_id}
