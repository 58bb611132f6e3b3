"""Everything that has no end yet, sent again at once out of the event store: after the broker lost its data.

What comes back is what the event store holds. What does not come back:

- A notification of which no event was stored: it was accepted, its request was confirmed by the broker, and the broker
  lost its disk before the projector had read it. That is the projector's lag, usually some milliseconds (the metric
  `wavecom.projector.lag`), and as long as the projector's backlog when it has one. A cluster of three brokers loses
  nothing of it until two of them lose their disks.
- The content of a notification whose request was lost that way while a later event of it was stored. Those are
  reported, and ended as failed if one wants to.

What processes hold in memory while the broker is away is not lost: they finish it and publish when it is back.

Running it where nothing was lost does no harm: the delivery ledger calls no provider twice for it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from wavecom_common.events import routing
from wavecom_common.events.channels import CHANNELS, PRIORITIES
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.errors import Refused
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.storage.client import Database
from wavecom_proto.v1.events_pb2 import Event

from status_projector.model import facts_document, projection
from status_projector.model.live_model import LiveModel
from status_projector.model.pointer import Pointers
from status_projector.model.read_model import ReadModel
from status_projector.queues import depths
from status_projector.recovery import missing_events
from status_projector.recovery.missing_events import Order
from status_projector.recovery.resender import Resender
from status_projector.store.event_store import EventStore

# Read and sent together.
_NOTIFICATIONS_AT_ONCE: Final = 500
# An operator waits for it.
_CONFIRM_TIMEOUT_S: Final = 10.0

# Events looked at so far.
Told = Callable[[int], None]
History = tuple[str, list[Event]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What there was to do, and was done unless it was a dry run."""

    events: int
    notifications: int
    # Sent again, by kind.
    sent: Counter[str]
    # The read model lacked something of them that is stored: it is brought up to the store.
    repaired: int
    # Their request is not stored.
    lost: Sequence[str]


async def require_queues(url: str, delays_ms: Sequence[int]) -> None:
    """Make sure that everything recovered has a queue to go to.

    Raises:
        Refused: a queue is missing; declaring is another command's.
        Unavailable: the broker can't be reached.
    """
    senders = [routing.sender_queue(channel, priority) for channel in CHANNELS for priority in PRIORITIES]
    waits = [routing.retry_name(delay_ms) for delay_ms in delays_ms]
    found = await depths(url, [routing.DISPATCHER_QUEUE, routing.PROJECTOR_QUEUE, *senders, *waits])
    missing = [name for name, depth in found.items() if depth is None]
    if missing:
        raise Refused(f"queue {missing[0]} is missing: run `wavecom topology apply` first")


class Recovery:
    """Walks the whole event store, brings the read model up to it and sends again what is missing.

    `per_second` bounds the notifications sent again, `give_up` ends those whose request is lost. Raises `Unavailable`
    when database or broker can't be reached: run again, from the start or from `after`.
    """

    def __init__(
        self,
        database: Database,
        publisher: EventPublisher,
        *,
        delays_ms: Sequence[int],
        max_events: int,
        per_second: float,
        give_up: bool = False,
        dry_run: bool = False,
        told: Told = lambda events: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._database = database
        self._store = EventStore(database)
        self._live = LiveModel(database)
        self._publisher = publisher
        self._resender = Resender(publisher, delays_ms=delays_ms, max_events=max_events, timeout_s=_CONFIRM_TIMEOUT_S)
        self._per_second = per_second
        self._give_up = give_up
        self._dry_run = dry_run
        self._told = told
        self._clock = clock
        self._sent: Counter[str] = Counter()
        self._repaired = 0
        self._lost: list[str] = []

    async def run(self, after: str | None = None) -> Recovered:
        """Recover every notification whose id is above `after`."""
        model = ReadModel(self._database, (await Pointers(self._database).read()).live)
        events_seen = notifications = 0
        page: list[History] = []
        async for history in self._store.histories(after=after):
            events_seen += len(history[1])
            notifications += 1
            page.append(history)
            if len(page) == _NOTIFICATIONS_AT_ONCE:
                await self._recover(model, page)
                self._told(events_seen)
                page = []
        await self._recover(model, page)
        return Recovered(
            events=events_seen,
            notifications=notifications,
            sent=self._sent,
            repaired=self._repaired,
            lost=self._lost,
        )

    async def _recover(self, model: ReadModel, page: Sequence[History]) -> None:
        await self._repair(model, page)
        now_ms = self._clock.now_ms()
        orders = [order for _, events in page if (order := missing_events.missing(events, now_ms)) is not None]
        self._sent.update(order.kind for order in orders)
        lost = [history for history in page if missing_events.is_lost(history[1])]
        self._lost += [notification_id for notification_id, _ in lost]
        if self._dry_run:
            return
        await self._send(orders)
        if self._give_up and lost:
            ends = [missing_events.given_up(events, now_ms) for _, events in lost]
            await self._publisher.publish(ends, timeout_s=_CONFIRM_TIMEOUT_S)

    async def _send(self, orders: Sequence[Order]) -> None:
        # In steps of a tenth of a second at most, so that the rate is a rate.
        step = max(1, round(self._per_second / 10))
        for start in range(0, len(orders), step):
            sending = orders[start : start + step]
            await self._resender.send(sending, self._clock.now_ms())
            await self._clock.sleep(len(sending) / self._per_second)

    async def _repair(self, model: ReadModel, page: Sequence[History]) -> None:
        """Fold into the model what a projector had stored and, killed with its message lost, not yet folded."""
        states = projection.fold(event for _, events in page for event in events)
        documents = await model.documents_of(states)
        behind = {
            notification_id: state
            for notification_id, state in states.items()
            if facts_document.differences(facts_document.document(state), documents.get(notification_id, {}))
        }
        self._repaired += len(behind)
        if not self._dry_run:
            await self._live.merge(behind)
