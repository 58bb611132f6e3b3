"""Who took which stuck notification on, and when anybody may do so again: shared by all copies of the sweeper."""

from collections.abc import Collection
from typing import Final

from wavecom_common.storage import driver, names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import BulkWriteError, DatetimeMS, UpdateOne
from wavecom_common.storage.errors import DUPLICATE_KEY, database_errors

# The wait doubles each time, up to a day.
_MOST_DOUBLINGS: Final = 8


class Sweeps:
    """What was swept, by notification; forgotten a day after its wait is over."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, notification_ids: Collection[str], *, now_ms: int, wait_ms: int, most: int) -> set[str]:
        """Take on up to `most` that nobody has on now, the first ones.

        They are ours alone for `wait_ms`, and twice as long each time.

        Raises:
            Unavailable: some may have been taken on; they are free again after their wait.
        """
        if not notification_ids:
            return set()
        with database_errors():
            ids = list(notification_ids)
            known = {one["_id"]: one for one in await self._collection.find({"_id": {"$in": ids}}).to_list(len(ids))}
            times = {one: known[one]["times"] if one in known else 0 for one in ids}
            free = [one for one in ids if one not in known or int(known[one]["until"]) <= now_ms][:most]
            updates = [
                UpdateOne({"_id": one, "times": times[one]}, {"$set": _taken(times[one], now_ms, wait_ms)}, upsert=True)
                for one in free
            ]
            lost = await self._write(updates) if updates else set[int]()
        return {one for place, one in enumerate(free) if place not in lost}

    async def _write(self, updates: list[UpdateOne]) -> set[int]:
        """The places of those that somebody else was faster with: its count is another, and the id is taken."""
        try:
            await self._collection.bulk_write(updates, ordered=False)
        except BulkWriteError as error:
            failed = error.details["writeErrors"]
            if error.details["writeConcernErrors"] or any(one["code"] != DUPLICATE_KEY for one in failed):
                raise
            return {one["index"] for one in failed}
        return set()

    @property
    def _collection(self) -> driver.Collection:
        return self._database.collection(names.SWEEPS)


def _taken(times: int, now_ms: int, wait_ms: int) -> driver.Document:
    return {"times": times + 1, "until": DatetimeMS(now_ms + wait_ms * 2 ** min(times, _MOST_DOUBLINGS))}
