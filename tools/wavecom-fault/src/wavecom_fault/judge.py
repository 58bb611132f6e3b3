"""What came of everything that was accepted, by the event store, the read model and the provider's own record."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from status_projector.checker import Checker
from wavecom_common.events import types
from wavecom_common.storage import names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import ObjectId
from wavecom_common.storage.event_store import EventStore
from wavecom_common.storage.read_model import ReadModel


@dataclass(frozen=True, slots=True)
class Verdict:
    """The sums. Lost, left over and unexplained have to be zero; so has what differs."""

    accepted: int
    terminal: int
    lost: int
    # Messages that nobody deals with, dead letters among them.
    left_over: int
    # More than one end in the event store.
    ended_twice: int
    # Calls beyond the first of an attempt: with the unknown outcome told in its timeline, and without.
    repeated_calls_outcome_unknown: int
    repeated_calls_unexplained: int
    model_differs: int

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not (
            self.lost or self.left_over or self.ended_twice or self.repeated_calls_unexplained or self.model_differs
        )


class Judge:
    """Looks at the database beside the system."""

    def __init__(self, url: str, database: str = "wavecom") -> None:
        self._url = url
        self._name = database
        self._client: MongoClient[dict[str, Any]] = MongoClient(url)
        self._database = self._client[database]

    def open(self, ids: Sequence[str]) -> int:
        """How many of them have no end yet in the read model.

        Raises:
            pymongo.errors.PyMongoError: the database is away.
        """
        query = {"_id": {"$in": [ObjectId(one) for one in ids]}, "head.final": {"$gt": 0}}
        return len(ids) - self._database[names.NOTIFICATIONS].count_documents(query)

    async def verdict(self, ids: Sequence[str], calls_file: Path, *, left_over: int) -> Verdict:
        """Everything, at the end; `left_over` is what the broker still holds."""
        lost = self.open(ids)
        repeated, unexplained = self._repeated(calls_file)
        return Verdict(
            accepted=len(ids),
            terminal=len(ids) - lost,
            lost=lost,
            left_over=left_over,
            ended_twice=self._ended_twice(),
            repeated_calls_outcome_unknown=repeated,
            repeated_calls_unexplained=unexplained,
            model_differs=await self._differing(),
        )

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _ended_twice(self) -> int:
        ends: list[dict[str, Any]] = [
            {"$match": {"type": {"$in": sorted(types.TERMINAL_TYPES)}}},
            {"$group": {"_id": "$nid", "ends": {"$sum": 1}}},
            {"$match": {"ends": {"$gt": 1}}},
        ]
        return len(list(self._database[names.EVENTS].aggregate(ends)))

    def _repeated(self, calls_file: Path) -> tuple[int, int]:
        calls = Counter(
            f"{call['notificationId']}:{call['attempt']}"
            for call in map(json.loads, calls_file.read_text().splitlines())
        )
        told = self._database[names.EVENTS].find({"type": types.OUTCOME_UNKNOWN}, {"nid": 1, "attempt": 1})
        unknown = {f"{event['nid']}:{event['attempt']}" for event in told}
        repeated = {attempt: count - 1 for attempt, count in calls.items() if count > 1}
        explained = sum(count for attempt, count in repeated.items() if attempt in unknown)
        return explained, sum(repeated.values()) - explained

    async def _differing(self) -> int:
        link = Database(self._url, self._name)
        try:
            return (await Checker(EventStore(link), ReadModel(link)).run()).differing
        finally:
            await link.close()
