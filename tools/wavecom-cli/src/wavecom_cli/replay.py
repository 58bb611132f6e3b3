"""Replaying dead letters: each is held against the event store first, which knows what happened since."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from status_projector.recovery.replaying import Over, Send, Verdict, judge
from status_projector.retention.removal import WALKS
from status_projector.store.event_store import EventStore
from status_projector.store.maintenance import Maintenance
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.messaging.dead_letters import Dead, Replayer
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.storage.client import Database
from wavecom_proto.v1.events_pb2 import Event

_CONFIRM_TIMEOUT_S = 10.0


@dataclass
class Counts:
    """What was done with events, or would be."""

    replayed: int = 0
    # Of those, reported as unknown before.
    unknown: int = 0
    over: int = 0


@dataclass
class Replay:
    """A `take` for `dead_letters.walk`. Without a replayer it only counts and reports.

    What is over stays where it is, unless `drop_over`. Raises `Unavailable` when broker or database cannot be reached;
    run again, a repeat does no harm.
    """

    database: Database
    publisher: EventPublisher
    replayer: Replayer | None
    drop_over: bool
    report: Callable[[str], None]
    clock: Clock = SYSTEM_CLOCK
    counts: Counts = field(default_factory=Counts)

    async def take(self, dead: Dead) -> bool:
        """Whether the dead letter leaves its queue."""
        verdicts = await self._verdicts(dead)
        over = [event for event, verdict in verdicts if isinstance(verdict, Over)]
        sent = [event for event, verdict in verdicts if isinstance(verdict, Send)]
        # What cannot be read counts as one.
        self.counts.replayed += len(sent) if dead.events else 1
        self.counts.over += len(over)
        self.counts.unknown += sum(bool(verdict.reports) for _, verdict in verdicts)
        for event, verdict in verdicts:
            if isinstance(verdict, Over):
                self.report(f"{event.event_id}  not sent: already {verdict.why}{_at(verdict.at_ms)}")
        if self.replayer is None:
            return False
        if reports := [event for _, verdict in verdicts for event in verdict.reports]:
            await self.publisher.publish(reports, timeout_s=_CONFIRM_TIMEOUT_S)
        if not over:
            return await self.replayer(dead)
        return await self._part(self.replayer, dead, sent, over)

    async def _part(self, replayer: Replayer, dead: Dead, sent: Sequence[Event], over: Sequence[Event]) -> bool:
        """The broker gives up whole messages: some of their notifications may have an end, and others not."""
        if not sent:
            return self.drop_over
        for part in dead.of(sent):
            await replayer(part)
        if not self.drop_over:
            for part in dead.of(over):
                await replayer.put_back(part)
        return True

    async def _verdicts(self, dead: Dead) -> list[tuple[Event, Verdict]]:
        histories = await EventStore(self.database).histories_of({event.notification_id for event in dead.events})
        # Read after them, for it is noted before anything is removed: no removed history is taken for one not stored.
        removed_before = await Maintenance(self.database).removed_before(WALKS)
        now_ms = self.clock.now_ms()
        return [
            (event, judge(event, histories.get(event.notification_id, []), now_ms, removed_before=removed_before))
            for event in dead.events
        ]


def _at(time_ms: int | None) -> str:
    return "" if time_ms is None else f" at {datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec='seconds')}"
