"""What came of everything that was accepted, by the event store, the read model and the provider's own record."""

import asyncio
import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from pymongo import MongoClient
from status_projector.model.read_model import ReadModel
from status_projector.recovery.checker import Checker
from status_projector.store.event_store import EventStore
from wavecom_common.delivery.policy import DEFAULT_MAX_ATTEMPTS
from wavecom_common.events import types
from wavecom_common.storage import names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import ObjectId

# A notification's id and a number, from 1.
Attempt: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The sums. All have to be zero but for the first two and the repeats that are told as such."""

    accepted: int
    terminal: int
    lost: int
    # Posts that were not accepted in the end, however often they were repeated.
    unanswered: int
    # Notifications in the event store whose ids no client has. Of those that were refused, only the ones that a
    # provider was called for; none of those whose post got no answer and was not repeated.
    unexpected: int
    # Messages that nobody deals with, dead letters among them.
    left_over: int
    # More than one end in the event store.
    ended_twice: int
    # Calls beyond the first of an attempt: with the unknown outcome told in its timeline, and without.
    repeated_calls_outcome_unknown: int
    repeated_calls_unexplained: int
    # Attempts told as sent that the provider knows nothing of.
    sent_without_call: int
    # Attempts, told or called, of a higher number than the client allowed.
    too_many_attempts: int
    model_differs: int
    # The unexpected ones, to look for in the logs and in the provider's record.
    unexpected_ids: Sequence[str] = field(default=(), compare=False)

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not any(
            (
                self.lost,
                self.unanswered,
                self.unexpected,
                self.left_over,
                self.ended_twice,
                self.repeated_calls_unexplained,
                self.sent_without_call,
                self.too_many_attempts,
                self.model_differs,
            )
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

    async def verdict(
        self,
        ids: Sequence[str],
        calls_file: Path,
        *,
        left_over: int,
        unanswered: int,
        refused: Collection[str] = (),
        in_doubt: Collection[str] = (),
    ) -> Verdict:
        """Everything, at the end.

        Args:
            ids: of what was accepted.
            calls_file: the provider's own record.
            left_over: what the broker still holds.
            unanswered: how many posts were not accepted in the end.
            refused: recipients of posts that were answered with a refusal at least once.
            in_doubt: recipients of posts that got no answer and were not repeated.
        """
        model_differs = await self._differing()
        # In a thread: what is between us and the database may run in this loop.
        return await asyncio.to_thread(
            lambda: self._verdict(ids, _calls(calls_file), left_over, unanswered, (refused, in_doubt), model_differs)
        )

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _verdict(
        self,
        ids: Sequence[str],
        calls: Counter[Attempt],
        left_over: int,
        unanswered: int,
        strangers: tuple[Collection[str], Collection[str]],
        model_differs: int,
    ) -> Verdict:
        lost = self.open(ids)
        unexpected = self._unexpected(ids, {notification for notification, _ in calls}, *strangers)
        repeated, unexplained = self._repeated(calls)
        return Verdict(
            accepted=len(ids),
            terminal=len(ids) - lost,
            lost=lost,
            unanswered=unanswered,
            unexpected=len(unexpected),
            unexpected_ids=unexpected,
            left_over=left_over,
            ended_twice=self._ended_twice(),
            repeated_calls_outcome_unknown=repeated,
            repeated_calls_unexplained=unexplained,
            sent_without_call=len(self._attempts({"type": types.SENT}) - calls.keys()),
            too_many_attempts=self._too_many_attempts(calls),
            model_differs=model_differs,
        )

    def _ended_twice(self) -> int:
        ends: list[dict[str, Any]] = [
            {"$match": {"type": {"$in": sorted(types.TERMINAL_TYPES)}}},
            {"$group": {"_id": "$nid", "ends": {"$sum": 1}}},
            {"$match": {"ends": {"$gt": 1}}},
        ]
        return len(list(self._database[names.EVENTS].aggregate(ends)))

    def _unexpected(
        self, ids: Sequence[str], called: Collection[str], refused: Collection[str], in_doubt: Collection[str]
    ) -> Sequence[str]:
        found: list[dict[str, Any]] = [
            {
                "$group": {
                    "_id": "$nid",
                    "recipient": {"$max": "$content.recipient"},
                    "withdrawn": {"$max": {"$eq": ["$failed.reason", types.REFUSED]}},
                }
            }
        ]
        known = set(ids)
        strangers = [one for one in self._database[names.EVENTS].aggregate(found) if one["_id"] not in known]

        def expected(one: dict[str, Any]) -> bool:
            # Of a request that the broker never had, the report of its withdrawal is all there is: it names nobody.
            only_withdrawn = one["recipient"] is None and one["withdrawn"]
            return one["recipient"] in in_doubt or (
                (one["recipient"] in refused or only_withdrawn) and one["_id"] not in called
            )

        return [one["_id"] for one in strangers if not expected(one)]

    def _repeated(self, calls: Counter[Attempt]) -> tuple[int, int]:
        unknown = self._attempts({"type": types.OUTCOME_UNKNOWN})
        repeated = {attempt: count - 1 for attempt, count in calls.items() if count > 1}
        explained = sum(count for attempt, count in repeated.items() if attempt in unknown)
        return explained, sum(repeated.values()) - explained

    def _too_many_attempts(self, calls: Counter[Attempt]) -> int:
        asked = self._database[names.EVENTS].find({"type": types.REQUESTED}, {"nid": 1, "content.maxAttempts": 1})
        most = {event["nid"]: event["content"].get("maxAttempts", DEFAULT_MAX_ATTEMPTS) for event in asked}
        attempts = self._attempts({}) | calls.keys()
        return sum(number > most.get(notification, DEFAULT_MAX_ATTEMPTS) for notification, number in attempts)

    def _attempts(self, query: dict[str, Any]) -> set[Attempt]:
        told = self._database[names.EVENTS].find(query, {"nid": 1, "attempt": 1})
        return {(event["nid"], event["attempt"]) for event in told}

    async def _differing(self) -> int:
        link = Database(self._url, self._name)
        try:
            return (await Checker(EventStore(link), ReadModel(link)).run()).differing
        finally:
            await link.close()


def _calls(calls_file: Path) -> Counter[Attempt]:
    lines = map(json.loads, calls_file.read_text().splitlines())
    return Counter((str(call["notificationId"]), int(call["attempt"])) for call in lines)
