"""Who may take documents away or fold everything anew just now, and how far the removal of old ones got.

A rebuild and a recovery read histories and write what they fold; a history removed between the two would come back as a
notification without events. So each works under one lease, and nothing is removed while another holds it.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.kernel.tasks import cancel
from wavecom_common.storage import driver, names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import DatetimeMS, DuplicateKeyError
from wavecom_common.storage.errors import database_errors

# Longer than all the writes that are made under it without a renewal, each of which the client bounds to ten seconds.
LEASE_S: Final = 60.0
_TRY_AGAIN_S: Final = 0.2
_LEASE: Final = "lease"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one walk over old documents got."""

    # Everything up to here was looked at.
    done_up_to: str = ""
    # What was looked at and could not be removed yet.
    later: Sequence[str] = ()
    # Nothing from here on was removed.
    removed_before: str = ""


class Maintenance:
    """The lease and the progress. Every call raises `Unavailable` (retryable) when the database cannot answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def now_ms(self) -> int:
        """The time by the database's clock, so that a wrong clock of a process removes nothing too early."""
        await self._database.hear_time()
        return self._database.clock.now_ms()

    async def take_lease(self, owner: str) -> bool:
        """Take the lease, or renew it, for `LEASE_S`; False when another has it."""
        now_ms = await self.now_ms()
        with database_errors():
            try:
                await self._collection.update_one(
                    {"_id": _LEASE, "$or": [{"owner": owner}, {"until": {"$lt": DatetimeMS(now_ms)}}]},
                    {"$set": {"owner": owner, "until": DatetimeMS(now_ms + round(LEASE_S * 1000))}},
                    upsert=True,
                )
            except DuplicateKeyError:
                return False
        return True

    async def give_lease_back(self, owner: str) -> None:
        """Let another one have it; fine when it is not ours any more."""
        with database_errors():
            await self._collection.update_one({"_id": _LEASE, "owner": owner}, {"$set": {"until": DatetimeMS(0)}})

    @asynccontextmanager
    async def alone(self, owner: str, *, clock: Clock = SYSTEM_CLOCK) -> AsyncIterator[None]:
        """Wait for the lease and hold it until the end of the block."""
        while not await self.take_lease(owner):
            await clock.sleep(_TRY_AGAIN_S)
        renewing = asyncio.create_task(self._renew(owner, clock))
        try:
            yield
        finally:
            await cancel(renewing)
            await self.give_lease_back(owner)

    async def progress(self, walk: str) -> Progress:
        """Of the walk of that name."""
        with database_errors():
            found = await self._collection.find_one({"_id": walk})
        if found is None:
            return Progress()
        return Progress(found["doneUpTo"], found["later"], found["removedBefore"])

    async def note_progress(self, walk: str, progress: Progress) -> None:
        """Remember it; `removed_before` never goes back."""
        fields = {"doneUpTo": progress.done_up_to, "later": list(progress.later)}
        with database_errors():
            await self._collection.update_one(
                {"_id": walk}, {"$set": fields, "$max": {"removedBefore": progress.removed_before}}, upsert=True
            )

    async def removed_before(self, walks: Collection[str]) -> str:
        """No notification with an id from here on was removed by any of these walks; empty when none ever was."""
        return max([(await self.progress(walk)).removed_before for walk in walks], default="")

    async def _renew(self, owner: str, clock: Clock) -> None:
        while True:
            await clock.sleep(LEASE_S / 4)
            try:
                await self.take_lease(owner)
            except Unavailable:
                # The next try may still be in time.
                continue

    @property
    def _collection(self) -> driver.Collection:
        return self._database.collection(names.RETENTION)
