"""What consumers hold for long: reported by them, and read by the sweeper, which would take it for lost otherwise.

The broker gives no figure of prefetched messages over AMQP. A process reports only while it holds something for long,
so a system that keeps up writes nothing here.
"""

from collections.abc import Mapping
from typing import Final

from wavecom_common.storage import driver, names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import DatetimeMS, UpdateOne
from wavecom_common.storage.errors import database_errors

REPORT_INTERVAL_S: Final = 10.0
# A report counts for so long: its process is taken for dead, or stopped, when it does not renew it.
VALID_S: Final = 3 * REPORT_INTERVAL_S


class HeldWork:
    """The reports, one for each process and queue. Every call raises `Unavailable` when the database cannot answer."""

    def __init__(self, database: Database, *, valid_s: float = VALID_S) -> None:
        self._database = database
        self._valid_ms = round(valid_s * 1000)

    async def report(self, owner: str, oldest_ms: Mapping[str, int]) -> None:
        """Say when the oldest event was due that `owner` holds, by queue."""
        await self._database.hear_time()
        at = DatetimeMS(self._database.clock.now_ms())
        updates = [
            UpdateOne(
                {"_id": f"{owner} {queue}"},
                {"$set": {"queue": queue, "oldestDueAt": DatetimeMS(due_at_ms), "at": at}},
                upsert=True,
            )
            for queue, due_at_ms in oldest_ms.items()
        ]
        if updates:
            with database_errors():
                await self._collection.bulk_write(updates, ordered=False)

    async def oldest(self) -> Mapping[str, int]:
        """When the oldest event was due that any living process holds, by queue; only queues of which one is held."""
        await self._database.hear_time()
        since = DatetimeMS(self._database.clock.now_ms() - self._valid_ms)
        with database_errors():
            found = await self._collection.find({"at": {"$gt": since}}).to_list(None)
        oldest: dict[str, int] = {}
        for one in found:
            due_at_ms = int(one["oldestDueAt"])
            oldest[one["queue"]] = min(due_at_ms, oldest.get(one["queue"], due_at_ms))
        return oldest

    @property
    def _collection(self) -> driver.Collection:
        return self._database.collection(names.HELD_WORK)
