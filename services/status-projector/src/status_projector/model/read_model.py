"""The status of every notification, as the events told so far say it is."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from wavecom_common.events.channels import CHANNELS
from wavecom_common.events.listings import MAX_COUNTED
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.storage import driver, names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import (
    ASCENDING,
    DESCENDING,
    BulkWriteError,
    DatetimeMS,
    Document,
    ObjectId,
    UpdateOne,
)
from wavecom_common.storage.errors import DUPLICATE_KEY, database_errors
from wavecom_common.storage.inserts import insert_new

from status_projector.model import facts_document
from status_projector.model.facts import STATUSES, Facts

Order: TypeAlias = list[tuple[str, int]]

# Newest first; the id settles which of one millisecond is first.
_NEWEST_FIRST: Final[Order] = [("createdAt", DESCENDING), ("_id", DESCENDING)]
_MERGE_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Overdue:
    """A notification that should have gone on by then."""

    notification_id: str
    due_at_ms: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How a notification stands, as far as its removal is concerned."""

    notification_id: str
    # As `facts.Head.final`.
    final: int
    updated_at_ms: int
    # Empty where the payload travels in the events.
    payload_id: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a notification stands in every listing that holds it. It never moves."""

    created_at_ms: int
    notification_id: str


@dataclass(frozen=True, slots=True)
class Filters:
    """What a listing is narrowed to; None leaves it open."""

    tenant: str
    status: str | None = None
    channel: str | None = None

    def query(self) -> Document:
        """The MongoDB filter. A notification whose request is not known yet has no tenant: it matches none.

        Where one of status and channel is open, all its values are named: so one index, sorted by time within each
        pair of them, answers every narrowed listing by merging its ranges, rare values included.
        """
        if self.status is None and self.channel is None:
            return {"tenant": self.tenant}
        channel = {"$in": list(CHANNELS)} if self.channel is None else self.channel
        status = {"$in": list(STATUSES)} if self.status is None else self.status
        return {"tenant": self.tenant, "channel": channel, "head.status": status}

    def ranges(self, after: Place | None) -> Sequence[tuple[Document, Order]]:
        """The filters and orders that find, one after the other, what is listed behind a place, or all there is.

        Two: the rest of its millisecond, which may hold a thousand of one call, and everything before that. Either is a
        range of an index (or one for each status and channel), so it passes nothing that it does not return. In the
        rest of a millisecond the time is no part of the order: with it, the server would not merge ranges but sort.
        """
        if after is None:
            return [(self.query(), _NEWEST_FIRST)]
        at = DatetimeMS(after.created_at_ms)
        return [
            (self.query() | {"createdAt": at, "_id": {"$lt": ObjectId(after.notification_id)}}, _NEWEST_FIRST[1:]),
            (self.query() | {"createdAt": {"$lt": at}}, _NEWEST_FIRST),
        ]


class ReadModel:
    """Facts by notification id, in one collection.

    Every call raises `Unavailable` (retryable) when the database cannot answer.
    """

    def __init__(self, database: Database, collection: str = names.NOTIFICATIONS) -> None:
        self._database = database
        self._name = collection

    async def merge(self, facts: Mapping[str, Facts]) -> None:
        """Join facts into what is stored, by notification id. In any order, any number of times: the result is one.

        Facts that hold the request are most often the first there are: they are tried as plain inserts, which cost the
        server a quarter of an upsert. Those that were not the first, and all others, are joined in.

        Raises:
            Unstorable: the database will not take at least one of them; the others may have been written.
        """
        inserted = await self._insert(facts)
        with database_errors():
            operations = [
                UpdateOne({"_id": ObjectId(notification_id)}, facts_document.update(known), upsert=True)
                for notification_id, known in facts.items()
                if notification_id not in inserted
            ]
            for _ in range(_MERGE_TRIES):
                # Events of types from the future tell nothing, and the driver refuses to write nothing.
                if operations:
                    operations = await self._write(operations)
        if operations:
            raise Unavailable("database: others kept inserting the same notifications")

    async def _insert(self, facts: Mapping[str, Facts]) -> set[str]:
        """Insert those with a request that are not there yet; which ones that were."""
        new = [notification_id for notification_id, known in facts.items() if known.request is not None]
        if not new:
            return set()
        places = await insert_new(self._collection, [_document(one, facts[one]) for one in new])
        return set(new).difference(new[place] for place in places)

    async def _write(self, operations: list[UpdateOne]) -> list[UpdateOne]:
        """Run the updates and return those that lost a race to insert a document: they find it the next time."""
        try:
            await self._collection.bulk_write(operations, ordered=False)
        except BulkWriteError as error:
            failed = error.details["writeErrors"]
            if error.details["writeConcernErrors"] or any(one["code"] != DUPLICATE_KEY for one in failed):
                raise
            return [operations[one["index"]] for one in failed]
        return []

    async def get(self, tenant: str, notification_id: str) -> Facts | None:
        """One notification of the tenant, or None. Not shown until its request is known."""
        with database_errors():
            found = await self._collection.find_one({"_id": ObjectId(notification_id), "tenant": tenant})
        return None if found is None else facts_document.from_document(found)

    async def list(
        self, filters: Filters, *, limit: int, skip: int = 0, after: Place | None = None
    ) -> list[tuple[str, Facts]]:
        """Ids and facts, newest first, without message, subject and metadata.

        What is skipped is passed in the index, one by one, so the caller bounds it; what stands before `after` is not.
        """
        if skip and (after := await self._place_of(filters, skip - 1)) is None:
            return []
        found: list[Document] = []
        for query, order in filters.ranges(after):
            if len(found) < limit:
                found += await self._page(query, order, limit=limit - len(found))
        return [(str(one["_id"]), facts_document.from_document(one)) for one in found]

    async def count(self, filters: Filters) -> int:
        """How many notifications a listing has in all; of more than `MAX_COUNTED`, one more than that."""
        with database_errors():
            return await self._collection.count_documents(filters.query(), limit=MAX_COUNTED + 1)

    async def _place_of(self, filters: Filters, number: int) -> Place | None:
        """The place of the one of that number in a listing, from 0. Reads the index only, no document."""
        with database_errors():
            cursor = self._collection.find(filters.query(), {"createdAt": 1}, sort=_NEWEST_FIRST, skip=number, limit=1)
            found = await cursor.to_list(1)
        return Place(int(found[0]["createdAt"]), str(found[0]["_id"])) if found else None

    async def _page(self, query: Document, order: Order, *, limit: int) -> Sequence[Document]:
        with database_errors():
            cursor = self._collection.find(query, facts_document.WITHOUT_CONTENT, sort=order, limit=limit)
            return await cursor.to_list(limit)

    async def overdue(
        self,
        before_ms: int,
        *,
        requests: bool,
        deliveries: Mapping[tuple[str, str], int],
        after: Overdue | None = None,
        limit: int,
    ) -> Sequence[Overdue]:
        """Notifications without an end whose next step was due before then, the longest overdue first.

        Args:
            before_ms: milliseconds since the epoch.
            requests: whether those are wanted of which no more than the request is known.
            deliveries: of the others, those of these channels and priorities that were due before the time that stands
                with them as well; none without a known request.
            after: the last one of an earlier answer.
            limit: at most so many.
        """
        wanted: list[Document] = [{"head.attempt": 0}] if requests else []
        wanted += [
            {
                "channel": channel,
                "priority": priority,
                "head.attempt": {"$gt": 0},
                "dueAt": {"$lt": DatetimeMS(due_before_ms)},
            }
            for (channel, priority), due_before_ms in deliveries.items()
        ]
        if not wanted:
            return []
        # An alternative of one would hide from the server that the index of requests answers it.
        return await self._overdue(before_ms, {"$or": wanted} if len(wanted) > 1 else wanted[0], after, limit)

    async def longest_overdue(self, before_ms: int, *, requests_only: bool = False) -> Overdue | None:
        """The first of all notifications without an end whose next step was due before then.

        With `requests_only`, of those of which no more than the request is known.
        """
        found = await self._overdue(before_ms, {"head.attempt": 0} if requests_only else {}, None, 1)
        return found[0] if found else None

    async def _overdue(self, before_ms: int, wanted: Document, after: Overdue | None, limit: int) -> Sequence[Overdue]:
        # `head.final` is what the index is partial by.
        query: Document = {"head.final": 0, "dueAt": {"$lt": DatetimeMS(before_ms)}, "$and": [wanted]}
        if after is not None:
            due_at = DatetimeMS(after.due_at_ms)
            query["dueAt"]["$gte"] = due_at
            query["$and"].append(
                {"$or": [{"dueAt": {"$gt": due_at}}, {"_id": {"$gt": ObjectId(after.notification_id)}}]}
            )
        with database_errors():
            found = await self._collection.find(
                query, {"dueAt": 1}, sort=[("dueAt", ASCENDING), ("_id", ASCENDING)], limit=limit
            ).to_list(limit)
        return [Overdue(str(one["_id"]), int(one["dueAt"])) for one in found]

    async def stream(self, *, after: str | None = None, page: int = 1000) -> AsyncIterator[tuple[str, Facts]]:
        """Everything stored with an id above `after`, by id, incomplete documents included."""
        async for notification_id, document in self.documents(after=after, page=page):
            yield notification_id, facts_document.from_document(document)

    async def documents(self, *, after: str | None = None, page: int = 1000) -> AsyncIterator[tuple[str, Document]]:
        """The same as it is stored, without the id in the document.

        Each page is a query of its own: a long walk survives a change of the primary, and can be taken up again.
        """
        query: Document = {"_id": {"$gt": ObjectId(after)}} if after else {}
        while True:
            with database_errors():
                found = await self._collection.find(query, sort=[("_id", ASCENDING)], limit=page).to_list(page)
            last = found[-1]["_id"] if found else None
            for document in found:
                yield str(document.pop("_id")), document
            if len(found) < page:
                return
            query = {"_id": {"$gt": last}}

    async def documents_of(self, notification_ids: Collection[str]) -> dict[str, Document]:
        """The stored documents of these notifications, without the ids in them; incomplete ones included."""
        with database_errors():
            ids = [ObjectId(notification_id) for notification_id in notification_ids]
            found = await self._collection.find({"_id": {"$in": ids}}).to_list(len(ids))
        return {str(document.pop("_id")): document for document in found}

    async def standings(self, *, after: str, before: str, limit: int) -> Sequence[Standing]:
        """Notifications with ids above `after` (all, when it is empty) and below `before`, by id."""
        bounds = {"$lt": ObjectId(before)} | ({"$gt": ObjectId(after)} if after else {})
        return await self._standings({"_id": bounds}, limit)

    async def standings_of(self, notification_ids: Collection[str]) -> Sequence[Standing]:
        """The same of these that are there."""
        ids = [ObjectId(notification_id) for notification_id in notification_ids]
        return await self._standings({"_id": {"$in": ids}}, len(ids)) if ids else []

    async def _standings(self, query: Document, limit: int) -> Sequence[Standing]:
        with database_errors():
            found = await self._collection.find(
                query, {"head.final": 1, "updatedAt": 1, "payloadId": 1}, sort=[("_id", ASCENDING)], limit=limit
            ).to_list(limit)
        return [
            Standing(str(one["_id"]), one["head"]["final"], int(one["updatedAt"]), one.get("payloadId", ""))
            for one in found
        ]

    async def remove(self, notification_ids: Collection[str]) -> None:
        """Remove these notifications; their events are removed before."""
        with database_errors():
            await self._collection.delete_many({"_id": {"$in": [ObjectId(one) for one in notification_ids]}})

    async def drop(self) -> None:
        """Drop the collection, with its indexes; fine where there is none."""
        with database_errors():
            await self._collection.drop()

    @property
    def _collection(self) -> driver.Collection:
        return self._database.collection(self._name, decides=False)


def _document(notification_id: str, facts: Facts) -> Document:
    return {"_id": ObjectId(notification_id), **facts_document.document(facts)}
