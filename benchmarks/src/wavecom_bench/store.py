"""What the database says came of a load: ends, and the time from POST to sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from pymongo import MongoClient
from wavecom_common.events import types
from wavecom_common.storage import names


@dataclass(frozen=True)
class Ends:
    """Counts over everything in the store; times of those sent, by priority, from acceptance, in seconds."""

    notifications: int
    sent: int
    failed: int
    outcomes_unknown: int
    sent_after_s: dict[str, Sequence[float]]
    last_sent_at_s: float


class Store:
    """A reader of the system's database, beside the system."""

    def __init__(self, url: str, database: str) -> None:
        self._client: MongoClient[dict[str, Any]] = MongoClient(url)
        self._database = self._client[database]

    def ended(self) -> int:
        """How many notifications have an end."""
        return self._database[names.NOTIFICATIONS].count_documents({"head.final": {"$gt": 0}})

    def ends(self) -> Ends:
        """Everything, counted; slow, for afterwards."""
        notifications = self._database[names.NOTIFICATIONS]
        after: dict[str, list[float]] = {}
        last_s = 0.0
        for found in notifications.find({"head.final": 2}, {"createdAt": 1, "sentAt": 1, "priority": 1}):
            after.setdefault(found["priority"], []).append((found["sentAt"] - found["createdAt"]).total_seconds())
            last_s = max(last_s, found["sentAt"].timestamp())
        unknown = self._database[names.EVENTS].count_documents({"type": types.OUTCOME_UNKNOWN})
        return Ends(
            notifications=notifications.count_documents({}),
            sent=notifications.count_documents({"head.final": 2}),
            failed=notifications.count_documents({"head.final": 1}),
            outcomes_unknown=unknown,
            sent_after_s={priority: sorted(times) for priority, times in after.items()},
            last_sent_at_s=last_s,
        )

    def created_at_ms(self) -> dict[str, float]:
        """When each notification was accepted, by its id, in ms since the epoch."""
        found = self._database[names.NOTIFICATIONS].find({}, {"createdAt": 1})
        return {str(one["_id"]): one["createdAt"].replace(tzinfo=UTC).timestamp() * 1000 for one in found}

    def close(self) -> None:
        """End the connection."""
        self._client.close()
