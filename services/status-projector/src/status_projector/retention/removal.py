"""Removing notifications whose time is over, in small steps beside the load; a component of the projector's process.

A notification goes in this order: its events, those that ended it last; the payload that no other event names; its
document in the read model. Whatever is killed in between, the model still has it, the progress was not noted, and the
next step removes the rest. At no moment the store has a history of it that is to go on: `recover` sends nothing again.

Nothing is removed while events wait to be stored: one of a notification as old as those that are removed would be taken
for one that comes late, and be left out.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.kernel.periodic import Periodic
from wavecom_common.storage.client import Database
from wavecom_common.storage.payloads import UNNAMED_KEPT_MS, Payloads
from wavecom_common.telemetry import metrics
from wavecom_common.telemetry.logs import get_logger

from status_projector.model.facts import FAILED, SENT
from status_projector.model.live_model import LiveModel
from status_projector.model.read_model import Standing
from status_projector.retention.policy import Periods, Verdict, status_of
from status_projector.store.event_store import EventStore
from status_projector.store.maintenance import Maintenance, Progress

INTERVAL_S: Final = 60.0
# How long a look whether all events are stored is good for. Nothing as young as that is ever removed.
_LOOK_MS: Final = 60_000
# Looked at in one step.
_PAGE: Final = 500
# Remembered of those without an end that were passed by: more than a system that works has.
_MOST_LATER: Final = 10_000
_LATER_AT_ONCE: Final = 100
_EVENTS: Final = "events"
_PAYLOADS: Final = "payloads"

WALKS: Final = (SENT, FAILED)

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did."""

    removed: Mapping[str, int]
    # Nothing more is to be done now.
    is_last: bool


class Retention(Periodic):
    """Removes in steps of a bounded number; copies take turns by a lease.

    `require_all_stored` raises `Unavailable` while accepted events may not be stored yet.
    Between two steps it rests for as long as the one took (`rest` times that): a bounded share of a database, however
    fast or slow that is.
    """

    def __init__(
        self,
        database: Database,
        periods: Periods,
        *,
        require_all_stored: Callable[[], Awaitable[None]],
        owner: str,
        interval_s: float = INTERVAL_S,
        rest: float = 1.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__("retention", interval_s)
        self._maintenance = Maintenance(database)
        self._store = EventStore(database)
        self._model = LiveModel(database)
        self._payloads = Payloads(database)
        self._periods = periods
        self._require_all_stored = require_all_stored
        self._looked_at_ms = -_LOOK_MS
        self._owner = owner
        self._rest = rest
        self._clock = clock

    async def start(self) -> None:
        """Begin, unless everything is kept for ever."""
        if self._periods.by_status:
            await super().start()

    async def work(self) -> None:
        """Remove what is due and measure what is left; when the database is away, the next time may find it back."""
        try:
            removed = await self.run()
            await self._measure()
        except Unavailable as error:
            _log.warning("retention_failed", error=str(error))
        else:
            if removed:
                _log.info("retention_removed", **removed)

    async def run(self, *, waits: bool = False) -> Mapping[str, int]:
        """Remove everything whose time is over; how much, by kind.

        Where another has the lease, it is waited for with `waits`; else what is left is left to that other one.

        Raises:
            Unavailable: database or broker cannot be reached, or events wait to be stored; what was removed is removed.
        """
        removed: Counter[str] = Counter()
        for walk in (*self._periods.by_status, _PAYLOADS):
            is_last = False
            while not is_last and not self.stopping.is_set():
                begun_ms = self._clock.now_ms()
                await self._look()
                # Taken for each step: another may have its turn in between; a rebuild or a recovery waits for it.
                async with self._maintenance.alone(self._owner, waits=waits) as ours:
                    if not ours:
                        return removed
                    step = await (self._payloads_step() if walk == _PAYLOADS else self._step(walk))
                removed.update(step.removed)
                is_last = step.is_last
                await self.pause(self._rest * (self._clock.now_ms() - begun_ms) / 1000)
        return removed

    async def due(self) -> AsyncIterator[tuple[str, Counter[str]]]:
        """What `run` would remove, walk by walk, page by page; nothing is done. Not the payloads.

        Raises:
            Unavailable: the database cannot be reached.
        """
        now_ms = await self._maintenance.now_ms()
        for walk in self._periods.by_status:
            after, before = "", self._periods.walked_before(walk, now_ms)
            while found := await self._model.standings(after=after, before=before, limit=_PAGE):
                after = found[-1].notification_id
                ours = [one for one in found if one.final and status_of(one) == walk]
                yield walk, Counter(self._verdict(one, now_ms).value for one in ours)

    async def begin_anew(self) -> None:
        """Let every walk come by everything again that is still there; waits for the lease."""
        async with self._maintenance.alone(self._owner):
            for walk in self._periods.by_status:
                progress = await self._maintenance.progress(walk)
                await self._maintenance.note_progress(walk, Progress("", (), progress.removed_before))

    async def _look(self) -> None:
        if self._clock.now_ms() - self._looked_at_ms >= _LOOK_MS:
            await self._require_all_stored()
            self._looked_at_ms = self._clock.now_ms()

    async def _step(self, walk: str) -> Step:
        now_ms = await self._maintenance.now_ms()
        progress = await self._maintenance.progress(walk)
        before = self._periods.walked_before(walk, now_ms)
        # Known before anything is removed: what comes late for it is not stored again.
        await self._maintenance.note_progress(walk, Progress(progress.done_up_to, progress.later, before))
        found = await self._model.standings(after=progress.done_up_to, before=before, limit=_PAGE)
        removed = await self._remove([one for one in found if self._verdict(one, now_ms) is Verdict.REMOVE], now_ms)
        later = [one.notification_id for one in found if self._verdict(one, now_ms) is Verdict.LATER]
        is_last = len(found) < _PAGE
        if is_last:
            waiting, more = await self._look_again(progress.later, now_ms)
            removed.update(more)
        else:
            waiting = list(progress.later)
        done_up_to = found[-1].notification_id if found else progress.done_up_to
        await self._maintenance.note_progress(walk, _bounded(Progress(done_up_to, [*waiting, *later], before)))
        return Step(removed, is_last)

    def _verdict(self, found: Standing, now_ms: int) -> Verdict:
        return self._periods.verdict(found, now_ms)

    async def _look_again(self, notification_ids: Sequence[str], now_ms: int) -> tuple[list[str], Counter[str]]:
        """Those passed by before: what has still to wait, in turn, and what was removed."""
        looked_at, others = notification_ids[:_LATER_AT_ONCE], notification_ids[_LATER_AT_ONCE:]
        removed: Counter[str] = Counter()
        waiting: list[str] = []
        for one in await self._model.standings_of(looked_at):
            match self._verdict(one, now_ms):
                case Verdict.REMOVE:
                    # One by one: they lie far from each other.
                    removed.update(await self._remove([one], now_ms))
                case Verdict.LATER:
                    waiting.append(one.notification_id)
                case Verdict.KEEP:
                    # It ended with the other status, whose walk comes by it, or looks at it again itself.
                    pass
        return [*others, *waiting], removed

    async def _remove(self, found: Sequence[Standing], now_ms: int) -> Counter[str]:
        if not found:
            return Counter()
        ids = [one.notification_id for one in found]
        removed = Counter(status_of(one) for one in found)
        removed[_EVENTS] = await self._store.remove(ids)
        payload_ids = {one.payload_id for one in found if one.payload_id}
        if payload_ids:
            removed[_PAYLOADS] = await self._remove_unnamed(payload_ids, now_ms)
        await self._model.remove(ids)
        for kind, count in removed.items():
            metrics.RETENTION_REMOVED.labels(kind).inc(count)
        return removed

    async def _remove_unnamed(self, payload_ids: set[str], now_ms: int) -> int:
        unnamed = payload_ids - await self._store.named_payloads(payload_ids)
        return await self._payloads.remove(unnamed, stored_before_ms=now_ms - UNNAMED_KEPT_MS)

    async def _payloads_step(self) -> Step:
        """Those whose event was never published. Each is looked at once, a week after it was stored last."""
        now_ms = await self._maintenance.now_ms()
        progress = await self._maintenance.progress(_PAYLOADS)
        at_ms, _, last = progress.done_up_to.partition(" ")
        found = await self._payloads.stored_before(now_ms - UNNAMED_KEPT_MS, after=(int(at_ms or 0), last), limit=_PAGE)
        count = await self._remove_unnamed({payload_id for _, payload_id in found}, now_ms)
        metrics.RETENTION_REMOVED.labels(_PAYLOADS).inc(count)
        if found:
            at, payload_id = found[-1]
            await self._maintenance.note_progress(_PAYLOADS, Progress(f"{at} {payload_id}"))
        return Step(Counter({_PAYLOADS: count} if count else {}), len(found) < _PAGE)

    async def _measure(self) -> None:
        """By every copy, whoever does the work: a figure of one that stopped would stay."""
        now_ms = await self._maintenance.now_ms()
        for status in self._periods.by_status:
            done_up_to = (await self._maintenance.progress(status)).done_up_to
            before = self._periods.walked_before(status, now_ms)
            waiting = await self._model.standings(after=done_up_to, before=before, limit=1)
            oldest = waiting[0].notification_id if waiting else ""
            metrics.RETENTION_LAG_SECONDS.labels(status).set(self._periods.overdue_s(status, oldest, now_ms))


def _bounded(progress: Progress) -> Progress:
    """With no more to look at again than can be remembered; `wavecom retention --anew` comes by the others."""
    if len(progress.later) <= _MOST_LATER:
        return progress
    _log.warning("retention_passes_by", without_end=len(progress.later))
    return replace(progress, later=progress.later[:_MOST_LATER])
