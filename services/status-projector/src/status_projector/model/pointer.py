"""Which collection is the read model, and which one else is kept up to date: one document that all follow.

A rebuild needs no stop and no clock to be complete. Whoever stores an event reads the pointer *afterwards* and then
writes to every collection it names. So an event whose projector saw no rebuild yet was in the store before the rebuild
was announced, and the rebuild, which begins to read only then, finds it there; every other event its projector writes
to the new collection itself. An event written by both does no harm.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from wavecom_common.kernel.errors import Refused
from wavecom_common.storage import driver, names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import DuplicateKeyError
from wavecom_common.storage.errors import database_errors

_ID: Final = "pointer"


class Phase(Enum):
    """What the second collection is for."""

    NONE = "none"
    # A rebuild fills it.
    BUILDING = "building"
    # It was live before, and is kept up to date for a rollback.
    KEPT = "kept"
    # Readers are about to go back to it.
    RETURNING = "returning"
    # It is being dropped.
    DROPPING = "dropping"


@dataclass(frozen=True, slots=True)
class Pointer:
    """The state of the read model's collections."""

    # The one that readers read.
    live: str = names.NOTIFICATIONS
    phase: Phase = Phase.NONE
    # While building: everything up to this notification id is folded in.
    built_up_to: str = ""
    # Counts the changes of the fields above but the last.
    revision: int = 0

    @property
    def spare(self) -> str:
        """The other one."""
        return next(name for name in names.READ_MODELS if name != self.live)

    @property
    def fed(self) -> tuple[str, ...]:
        """Where facts are written, in this order: first where readers are, or where they go next.

        So what a reader saw in the one it leaves is there in the one it comes to.
        """
        match self.phase:
            case Phase.BUILDING | Phase.RETURNING:
                return (self.spare, self.live)
            case Phase.KEPT:
                return (self.live, self.spare)
            case Phase.NONE | Phase.DROPPING:
                return (self.live,)

    def to(self, phase: Phase) -> "Pointer":
        """The same with another phase."""
        return replace(self, phase=phase, built_up_to="")

    def flipped(self) -> "Pointer":
        """Readers at the other collection; the one they leave is kept."""
        return replace(self, live=self.spare, phase=Phase.KEPT, built_up_to="")


class Pointers:
    """The stored pointer. Every call raises `Unavailable` (retryable) when the database cannot answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> Pointer:
        """The pointer as it is now."""
        with database_errors():
            found = await self._collection.find_one({"_id": _ID})
        if found is None:
            return Pointer()
        return Pointer(found["live"], Phase(found["phase"]), found["builtUpTo"], found["revision"])

    async def change(self, found: Pointer, wanted: Pointer) -> Pointer:
        """Put `wanted` in the place of what was found.

        Raises:
            Refused: somebody changed it meanwhile.
        """
        fields = {"live": wanted.live, "phase": wanted.phase.value, "builtUpTo": wanted.built_up_to}
        revision = found.revision + 1
        with database_errors():
            try:
                # Where there is none yet this inserts it; where there is another one, the id is taken.
                await self._collection.update_one(
                    {"_id": _ID, "revision": found.revision}, {"$set": {**fields, "revision": revision}}, upsert=True
                )
            except DuplicateKeyError:
                raise Refused("somebody else works on the read model's collections just now") from None
        return replace(wanted, revision=revision)

    async def note_progress(self, building: Pointer, built_up_to: str) -> None:
        """Remember how far a rebuild got, unless it was ended meanwhile."""
        with database_errors():
            await self._collection.update_one(
                {"_id": _ID, "revision": building.revision}, {"$max": {"builtUpTo": built_up_to}}
            )

    @property
    def _collection(self) -> driver.Collection:
        return self._database.collection(names.POINTER)
