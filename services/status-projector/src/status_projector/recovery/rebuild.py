"""Folding the event store into a new read model while the system runs, and moving readers to it.

The order of the steps is what makes it right; `model.pointer` says why. Each step can be repeated, and where the
rebuild got to is kept in the pointer, so after a death at any point the same command goes on from there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.errors import Refused
from wavecom_common.storage import indexes
from wavecom_common.storage.client import Database
from wavecom_common.telemetry.logs import get_logger
from wavecom_proto.v1.events_pb2 import Event

from status_projector.model import projection
from status_projector.model.facts import Facts
from status_projector.model.live_model import CACHE_S, UNREAD_AFTER_S
from status_projector.model.pointer import Phase, Pointer, Pointers
from status_projector.model.read_model import ReadModel
from status_projector.recovery.checker import SETTLE_S, Checker, Report
from status_projector.store.event_store import EventStore

# Written together. Where it ends is remembered, so this is all that is done twice after a death.
_NOTIFICATIONS_AT_ONCE: Final = 1000
# Differences that can be mended before the whole is compared again.
_MOST_MENDED: Final = 10_000

# The step it is at, and the events this step has seen.
Told = Callable[[str, int], None]

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How a rebuild ended; readers were moved only if the report shows no difference."""

    live: str
    resumed: bool
    events: int
    report: Report


class Rebuild:
    """Rebuilds the read model, goes back to the one before, and drops what is not read any more.

    Every call raises `Unavailable` when the database cannot answer, and may be repeated then, and `Refused` when it
    makes no sense as things are.
    """

    def __init__(
        self,
        database: Database,
        *,
        told: Told = lambda step, events: None,
        settle_s: float = SETTLE_S,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._database = database
        self._store = EventStore(database)
        self._pointers = Pointers(database)
        self._told = told
        self._settle_s = settle_s
        self._clock = clock

    async def run(self) -> Rebuilt:
        """Fold everything into the second collection, compare it with the store, move the readers there."""
        found = await self._pointers.read()
        building = found if found.phase is Phase.BUILDING else await self._begin(found)
        model = ReadModel(self._database, building.spare)
        events = await self._fill(model, building)
        report = await self._compare(model)
        live = building.live
        if not report.differing:
            live = (await self._pointers.change(building, building.flipped())).live
            _log.info("read_model_moved", live=live)
        return Rebuilt(live, found is building, events, report)

    async def rollback(self) -> str:
        """Move readers back to the collection they read before; returns its name."""
        found = await self._pointers.read()
        if found.phase not in (Phase.KEPT, Phase.RETURNING):
            raise Refused("there is no earlier read model to go back to")
        returning = await self._pointers.change(found, found.to(Phase.RETURNING))
        # From now on the other one is written to first. What is under way in the old order is soon done.
        await self._clock.sleep(CACHE_S)
        return (await self._pointers.change(returning, returning.flipped())).live

    async def drop(self) -> str:
        """Drop the collection that is not live: the earlier one, or a rebuild that is not wanted; returns its name."""
        found = await self._pointers.read()
        if found.phase is Phase.NONE:
            raise Refused(f"there is nothing but the live read model, {found.live}")
        dropping = await self._pointers.change(found, found.to(Phase.DROPPING))
        await self._clock.sleep(UNREAD_AFTER_S)
        await ReadModel(self._database, dropping.spare).drop()
        await self._pointers.change(dropping, dropping.to(Phase.NONE))
        return dropping.spare

    async def _begin(self, found: Pointer) -> Pointer:
        if found.phase is not Phase.NONE:
            raise Refused(
                f"{found.spare} is still there ({found.phase.value}): drop it first with `wavecom rebuild --drop`"
            )
        await indexes.apply_to_read_model(self._database, found.spare)
        return await self._pointers.change(found, found.to(Phase.BUILDING))

    async def _fill(self, model: ReadModel, building: Pointer) -> int:
        events_seen = 0
        states: dict[str, Facts] = {}
        async for notification_id, events in self._store.histories(after=building.built_up_to or None):
            events_seen += len(events)
            states |= projection.fold(events)
            if len(states) >= _NOTIFICATIONS_AT_ONCE:
                await model.merge(states)
                states = {}
                await self._pointers.note_progress(building, notification_id)
                self._told("folding", events_seen)
        await model.merge(states)
        self._told("folding", events_seen)
        return events_seen

    async def _compare(self, model: ReadModel) -> Report:
        report = await self._check(model)
        if 0 < report.differing <= _MOST_MENDED:
            # A projector died between its writes and has not come back yet: its events are stored, so fold them here.
            await self._mend(model, [found.notification_id for found in report.differences])
            report = await self._check(model)
        return report

    async def _check(self, model: ReadModel) -> Report:
        def told(events: int, _: int) -> None:
            self._told("comparing", events)

        checker = Checker(
            self._store,
            model,
            told=told,
            settle_s=self._settle_s,
            most_differences=_MOST_MENDED,
            clock=self._clock,
        )
        return await checker.run()

    async def _mend(self, model: ReadModel, notification_ids: Sequence[str]) -> None:
        histories: dict[str, list[Event]] = await self._store.histories_of(notification_ids)
        await model.merge(projection.fold(event for events in histories.values() for event in events))
