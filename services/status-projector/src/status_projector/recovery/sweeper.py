"""Finds notifications that stand still and sends again what they wait for, out of the event store.

It should never find any. What it finds was lost on the way in spite of everything, so it warns and counts.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from wavecom_common.events import routing
from wavecom_common.events.channels import CHANNELS, PRIORITIES
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.errors import Unavailable, Unroutable, Unstorable
from wavecom_common.kernel.periodic import Periodic
from wavecom_common.storage.held_work import HeldWork
from wavecom_common.telemetry import metrics
from wavecom_common.telemetry.logs import get_logger
from wavecom_proto.v1.events_pb2 import Event

from status_projector.model import projection
from status_projector.model.live_model import LiveModel
from status_projector.model.read_model import Overdue
from status_projector.queues import depths
from status_projector.recovery import backlogs, missing_events
from status_projector.recovery.missing_events import Order
from status_projector.recovery.resender import Resender
from status_projector.store.event_store import EventStore
from status_projector.store.sweeps import Sweeps

# The model was behind the store and was brought up to it.
REPAIRED: Final = "repaired"
_SENDER_QUEUES: Final = {
    routing.sender_queue(channel, priority): (channel, priority) for channel in CHANNELS for priority in PRIORITIES
}
_REQUEST_QUEUES: Final = (routing.PROJECTOR_QUEUE, routing.DISPATCHER_QUEUE)
_PAGE: Final = 500
# Looked at in one sweep: more than can be on hand at any time, so that no one is passed over for ever.
_MOST_LOOKED_AT: Final = 10_000

_log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How patient the sweeper is, and how much it does at once."""

    # A notification is stuck when its next step was due so long ago.
    after_s: float
    interval_s: float
    # Notifications sent again in one sweep.
    most: int
    # A queue with more messages than this has a backlog: what is missing may well be in it, and is left alone.
    most_waiting: int
    # Look only for requests that were not dispatched. A service that is well dispatches them within milliseconds, and a
    # repeat costs little, so their limits are tighter than those of deliveries, which wait for providers.
    requests_only: bool = False


class Sweeper(Periodic):
    """Looks through the read model now and then; a component of the projector's process.

    Copies share the work: each stuck notification is one copy's for `after_s`, then, if it still stands still, once
    more for twice that time, and so on. It acts only on what it has found stuck twice, an interval apart, its queue
    free both times: one look at a queue proves nothing, see `messaging.depths`. And on nothing while the projector is
    behind: what the model says may be old then. Nor on what may be in the hands of a sender: see `backlogs`.
    """

    def __init__(
        self,
        url: str,
        store: EventStore,
        model: LiveModel,
        sweeps: Sweeps,
        held: HeldWork,
        resender: Resender,
        limits: Limits,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__("sweeper", limits.interval_s)
        self._url = url
        self._store = store
        self._model = model
        self._sweeps = sweeps
        self._held = held
        self._resender = resender
        self._limits = limits
        self._clock = clock
        self._seen: frozenset[str] = frozenset()

    async def work(self) -> None:
        """Sweep once; when a server is away, the next sweep may find it back."""
        try:
            await self.sweep()
        except (Unavailable, Unroutable) as error:
            # What was seen before the server was away is no evidence: meanwhile nothing could go on.
            self._seen = frozenset()
            _log.warning("sweep_failed", error=str(error))

    async def sweep(self) -> Mapping[str, int]:
        """Look through the model once; how many notifications were sent again, by kind.

        Raises:
            Unavailable: database or broker can't be reached.
            Unroutable: a queue is not there.
        """
        now_ms = self._clock.now_ms()
        before_ms = now_ms - round(self._limits.after_s * 1000)
        longest = await self._model.longest_overdue(before_ms, requests_only=self._limits.requests_only)
        if not self._limits.requests_only:
            metrics.OLDEST_STUCK_SECONDS.set((now_ms - longest.due_at_ms) / 1000 if longest else 0)
        free = await self._free_queues(before_ms, now_ms) if longest else {}
        if not free:
            self._seen = frozenset()
            return {}
        taken = await self._take(before_ms, free)
        swept = await self._send_again(taken) if taken else {}
        if swept and longest:
            age_s = (now_ms - longest.due_at_ms) // 1000
            _log.warning("swept", **swept, oldest=longest.notification_id, oldest_overdue_s=age_s)
        return swept

    async def _free_queues(self, before_ms: int, now_ms: int) -> Mapping[str, int]:
        """See `backlogs.without_backlog`."""
        queues = _REQUEST_QUEUES if self._limits.requests_only else (*_REQUEST_QUEUES, *_SENDER_QUEUES)
        return backlogs.without_backlog(
            await depths(self._url, queues),
            await self._held.oldest(),
            before_ms=before_ms,
            now_ms=now_ms,
            most_waiting=self._limits.most_waiting,
        )

    async def _take(self, before_ms: int, free: Mapping[str, int]) -> set[str]:
        """Stuck notifications that are ours to send again now."""
        taken, seen = set[str](), set[str]()
        last: Overdue | None = None
        while len(taken) < self._limits.most and len(seen) < _MOST_LOOKED_AT:
            page = await self._model.overdue(
                before_ms,
                requests=routing.DISPATCHER_QUEUE in free,
                deliveries={kind: free[queue] for queue, kind in _SENDER_QUEUES.items() if queue in free},
                after=last,
                limit=_PAGE,
            )
            if not page:
                break
            last = page[-1]
            ids = [one.notification_id for one in page]
            seen.update(ids)
            taken |= await self._sweeps.claim(
                [one for one in ids if one in self._seen],
                now_ms=self._clock.now_ms(),
                wait_ms=round(self._limits.after_s * 1000),
                most=self._limits.most - len(taken),
            )
        self._seen = frozenset(seen)
        return taken

    async def _send_again(self, notification_ids: Collection[str]) -> Mapping[str, int]:
        now_ms = self._clock.now_ms()
        orders: list[Order] = []
        behind: dict[str, Sequence[Event]] = {}
        for notification_id, events in (await self._store.histories_of(notification_ids)).items():
            order = missing_events.missing(events, now_ms)
            if order is not None:
                orders.append(order)
            else:
                behind[notification_id] = events
        await self._resender.send(orders, now_ms)
        swept = Counter(order.kind for order in orders)
        if repaired := [one for one, events in behind.items() if await self._repair(one, events)]:
            swept[REPAIRED] = len(repaired)
        for kind, count in swept.items():
            metrics.SWEPT.labels(kind).inc(count)
        return swept

    async def _repair(self, notification_id: str, events: Sequence[Event]) -> bool:
        """Bring the model up to the store. One at a time: what is refused, for whatever reason, keeps nobody else."""
        try:
            await self._model.merge(projection.fold(events))
        except Unstorable as refusal:
            _log.error("model_not_repaired", notification_id=notification_id, error=str(refusal))
            return False
        return True
