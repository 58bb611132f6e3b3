"""The database, in memory, as far as our code uses it: the real storage classes run on it unchanged."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from bson.datetime_ms import DatetimeMS
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from tests.simulation.chaos import Process

Document = dict[str, Any]


class Result:
    """What an update tells."""

    def __init__(self, matched: int) -> None:
        self.matched_count = self.modified_count = matched


class Cursor:
    """A query that is run when its list is asked for."""

    def __init__(self, process: Process, documents: dict[Any, Document], query: Mapping[str, Any]) -> None:
        self._process = process
        self._documents = documents
        self._query = query

    async def to_list(self, _: int | None) -> list[Document]:
        await self._process.step()
        return [deepcopy(document) for document in self._documents.values() if _matches(document, self._query)]


class MemoryCollection:
    """One process's view of a collection."""

    def __init__(self, process: Process, documents: dict[Any, Document]) -> None:
        self._process = process
        self._documents = documents

    def find(self, query: Mapping[str, Any], *_: Any, **__: Any) -> Cursor:
        return Cursor(self._process, self._documents, query)

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
        matched = sum(self._update(update._filter, update._doc, bool(update._upsert), most=1) for update in updates)
        await self._process.answer(lost)
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
        if not found and upsert:
            found = [self._documents.setdefault(query["_id"], {"_id": query["_id"]})]
        for document in found:
            for operator, fields in update.items():
                for field, value in fields.items():
                    _OPERATORS[operator](document, field, value)
        return len(found)


class MemoryDatabase:
    """The server: what is in it outlives every process."""

    def __init__(self) -> None:
        self.collections: dict[str, dict[Any, Document]] = {}

    def seen_by(self, process: Process) -> "View":
        return View(self, process)


class View:
    """The database as one process sees it: in place of `storage.client.Database`."""

    def __init__(self, database: MemoryDatabase, process: Process) -> None:
        self._database = database
        self._process = process

    def collection(self, name: str) -> MemoryCollection:
        return MemoryCollection(self._process, self._database.collections.setdefault(name, {}))


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


def _matches(document: Document, query: Mapping[str, Any]) -> bool:
    return all(_fits(document.get(field), wanted) for field, wanted in query.items())


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict) and "$in" in wanted:
        return value in wanted["$in"]
    return bool(_key(value) == _key(wanted))
