"""The database, in memory, as far as our code uses it: the real storage classes run on it unchanged."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from bson.datetime_ms import DatetimeMS
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError
from wavecom_common.kernel.clock import Clock
from wavecom_common.storage.database_clock import DatabaseClock

from tests.simulation.chaos import Process

Document = dict[str, Any]


class Result:
    """What an update tells."""

    def __init__(self, matched: int) -> None:
        self.matched_count = self.modified_count = matched


class Cursor:
    """A query that is run when its list is asked for."""

    def __init__(self, process: Process, find: Callable[[], list[Document]]) -> None:
        self._process = process
        self._find = find

    async def to_list(self, _: int | None) -> list[Document]:
        await self._process.step()
        return self._find()


class MemoryCollection:
    """One process's view of a collection."""

    def __init__(self, process: Process, documents: dict[Any, Document]) -> None:
        self._process = process
        self._documents = documents

    def find(
        self, query: Mapping[str, Any], *_: Any, sort: Sequence[tuple[str, int]] = (), limit: int | None = None
    ) -> Cursor:
        def run() -> list[Document]:
            found = [document for document in self._documents.values() if _matches(document, query)]
            # Always ascending, as far as our code sorts here.
            found.sort(key=lambda document: tuple(_key(_value(document, field)) for field, _ in sort))
            return [deepcopy(document) for document in found[:limit]]

        return Cursor(self._process, run)

    async def find_one(self, query: Mapping[str, Any]) -> Document | None:
        found = await self.find(query, limit=1).to_list(1)
        return found[0] if found else None

    async def insert_many(self, documents: Sequence[Document], *, ordered: bool) -> None:
        assert not ordered
        lost = await self._process.step()
        errors = []
        for index, document in enumerate(documents):
            if document["_id"] in self._documents:
                errors.append({"index": index, "code": 11000})
            else:
                self._documents[document["_id"]] = deepcopy(document)
        await self._process.answer(lost)
        if errors:
            raise BulkWriteError({"writeErrors": errors, "writeConcernErrors": []})

    async def bulk_write(self, updates: Sequence[UpdateOne], *, ordered: bool) -> Result:
        assert not ordered
        lost = await self._process.step()
        matched, errors = 0, []
        for index, update in enumerate(updates):
            count = self._update(update._filter, update._doc, bool(update._upsert), most=1)
            matched += count
            if update._upsert and not count:
                errors.append({"index": index, "code": 11000})
        await self._process.answer(lost)
        if errors:
            raise BulkWriteError({"writeErrors": errors, "writeConcernErrors": []})
        return Result(matched)

    async def update_one(self, query: Mapping[str, Any], update: Mapping[str, Any]) -> Result:
        lost = await self._process.step()
        matched = self._update(query, update, upsert=False, most=1)
        await self._process.answer(lost)
        return Result(matched)

    async def update_many(self, query: Mapping[str, Any], update: Mapping[str, Any]) -> Result:
        lost = await self._process.step()
        matched = self._update(query, update, upsert=False, most=None)
        await self._process.answer(lost)
        return Result(matched)

    def _update(self, query: Mapping[str, Any], update: Any, upsert: bool, most: int | None) -> int:
        found = [document for document in self._documents.values() if _matches(document, query)][:most]
        if not found and upsert and query["_id"] not in self._documents:
            found = [self._documents.setdefault(query["_id"], dict(query))]
        for document in found:
            for operator, fields in update.items():
                for field, value in fields.items():
                    _OPERATORS[operator](document, field, value)
        return len(found)


class MemoryDatabase:
    """The server: what is in it outlives every process."""

    def __init__(self, clock: Clock) -> None:
        self.collections: dict[str, dict[Any, Document]] = {}
        self._clock = clock

    def seen_by(self, process: Process) -> "View":
        return View(self, process, self._clock)


class View:
    """The database as one process sees it: in place of `storage.client.Database`."""

    def __init__(self, database: MemoryDatabase, process: Process, server_clock: Clock) -> None:
        self._database = database
        self.process = process
        self._server_clock = server_clock
        self._clock = DatabaseClock(asyncio.get_running_loop().time)

    @property
    def clock(self) -> Clock:
        return self._clock

    async def hear_time(self) -> None:
        if self._clock.known:
            return
        asked_at_ms = self._clock.local_ms()
        lost = await self.process.step()
        told_ms = self._server_clock.now_ms()
        await self.process.answer(lost)
        self._clock.hear(told_ms, asked_at_ms=asked_at_ms)

    def collection(self, name: str, **_: bool) -> MemoryCollection:
        return MemoryCollection(self.process, self._database.collections.setdefault(name, {}))


def _set(document: Document, field: str, value: Any) -> None:
    document[field] = value


def _max(document: Document, field: str, value: Any) -> None:
    if field not in document or _key(value) > _key(document[field]):
        document[field] = value


def _min(document: Document, field: str, value: Any) -> None:
    if field not in document or _key(value) < _key(document[field]):
        document[field] = value


_OPERATORS = {"$set": _set, "$max": _max, "$min": _min}


def _key(value: Any) -> Any:
    # As the server compares: embedded documents field by field.
    if isinstance(value, dict):
        return tuple(_key(part) for part in value.values())
    return int(value) if isinstance(value, DatetimeMS) else value


def _value(document: Document, field: str) -> Any:
    value: Any = document
    for part in field.split("."):
        value = _part(value, part)
    return value


def _part(value: Any, name: str) -> Any:
    if isinstance(value, list):
        return value[int(name)]
    return value.get(name) if isinstance(value, dict) else None


def _matches(document: Document, query: Mapping[str, Any]) -> bool:
    return all(_fits(document, field, wanted) for field, wanted in query.items())


def _fits(document: Document, field: str, wanted: Any) -> bool:
    if field == "$or":
        return any(_matches(document, query) for query in wanted)
    if field == "$and":
        return all(_matches(document, query) for query in wanted)
    value = _value(document, field)
    if isinstance(wanted, dict) and any(operator.startswith("$") for operator in wanted):
        return all(_COMPARISONS[operator](value, bound) for operator, bound in wanted.items())
    return bool(_key(value) == _key(wanted))


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "$ne": lambda value, bound: value != bound,
    "$in": lambda value, bound: value in bound,
    "$gt": lambda value, bound: value is not None and _key(value) > _key(bound),
    "$gte": lambda value, bound: value is not None and _key(value) >= _key(bound),
    "$lt": lambda value, bound: value is not None and _key(value) < _key(bound),
}
