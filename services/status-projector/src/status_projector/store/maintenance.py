"""Who may take documents away or fold everything anew just now, and how far the removal of old ones got.

A rebuild and a recovery read histories and write what they fold; a history removed between the two would come back as a
notification without events. So each works under one lease, which is renewed all the while: work whose lease cannot be
renewed in time is stopped before another process can have it.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.kernel.tasks import cancel
from wavecom_common.storage import driver, names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import DatetimeMS, DuplicateKeyError
from wavecom_common.storage.errors import database_errors

LEASE_S: Final = 60.0
# Of the lease: what is under way when its holder is stopped has this long to arrive.
_LAST_PART: Final = 1 / 4
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
    async def alone(self, owner: str, *, waits: bool = True, clock: Clock = SYSTEM_CLOCK) -> AsyncIterator[bool]:
        """Hold the lease until the end of the block, which is given whether it is held.

        Where another has it, it is waited for; without `waits` the block is given False at once.

        Raises:
            Unavailable: the lease was lost, or could not be renewed in time. The block was cancelled where it was.
        """
        while (until_s := await self._taken_until_s(owner)) is None:
            if not waits:
                yield False
                return
            await clock.sleep(_TRY_AGAIN_S)
        try:
            async with asyncio.timeout_at(until_s) as held:
                renewing = asyncio.create_task(self._renew(owner, held, clock))
                try:
                    yield True
                finally:
                    await cancel(renewing)
        except TimeoutError as error:
            if not held.expired():
                raise
            raise Unavailable(f"database: the lease of {owner} could not be renewed") from error
        finally:
            # Else it ends by itself.
            with suppress(Unavailable):
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

    async def _renew(self, owner: str, held: asyncio.Timeout, clock: Clock) -> None:
        while True:
            await clock.sleep(LEASE_S / 4)
            try:
                until_s = await self._taken_until_s(owner)
            except Unavailable:
                # The next try may still be in time.
                continue
            if until_s is None:
                # Another one has it.
                until_s = asyncio.get_running_loop().time()
            held.reschedule(until_s)

    async def _taken_until_s(self, owner: str) -> float | None:
        """Until when, by the loop's clock, the lease allows to work; None when another has it."""
        began_s = asyncio.get_running_loop().time()
        return began_s + LEASE_S * (1 - _LAST_PART) if await self.take_lease(owner) else None

    @property
    def _collection(self) -> driver.Collection:
        return self._database.collection(names.RETENTION)
