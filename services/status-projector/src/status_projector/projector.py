"""From events on the queue to the event store and the read model, many at a time."""

import asyncio
from collections.abc import Sequence
from typing import Final

from wavecom_common.events.routing import PROJECTOR_QUEUE
from wavecom_common.kernel.batcher import Batcher
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.component import Component
from wavecom_common.kernel.errors import Unstorable
from wavecom_common.kernel.retrying import unless_left, until_available
from wavecom_common.kernel.tasks import all_ended
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import ACK, DeadLetter, Outcome
from wavecom_common.telemetry import metrics, spans
from wavecom_common.telemetry.logs import get_logger
from wavecom_proto.v1.events_pb2 import Event

from status_projector.model import projection
from status_projector.model.live_model import LiveModel
from status_projector.model.read_model import ReadModel
from status_projector.retention.late_events import LateEvents
from status_projector.store.event_store import EventStore

# One batch is written while the next one is prepared.
_BATCHES_IN_FLIGHT: Final = 2

_log = get_logger()


async def give_up(_: Event, reason: str) -> Outcome:
    """An event that can't be stored leaves a hole in its timeline, and its notification is delivered all the same."""
    return DeadLetter(reason, fails=False)


def _tell(error: Exception) -> None:
    _log.warning("model_not_written", error=str(error))


class Projector(Component):
    """Handles messages by storing their events and folding them into the read model; then they may be acknowledged.

    Events of concurrent messages are written together. Needs no order: copies of this process run in parallel.
    Raises `Unavailable` while the event store cannot be reached; repeating a message does no harm. What is stored is
    folded, however long that takes, also when the link is lost over which it came or the process is told to stop: a
    part of the process that is drained after the consumer, so that the last projector leaves no model behind its store.
    """

    def __init__(
        self,
        store: EventStore,
        read_model: LiveModel | ReadModel,
        *,
        max_events: int,
        linger_s: float,
        late: LateEvents | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._store = store
        self._late = late
        self._read_model = read_model
        self._clock = clock
        self._never = asyncio.Event()
        self._batcher: Batcher[Event, Outcome] = Batcher(
            self._project, max_items=max_events, linger_s=linger_s, max_in_flight=_BATCHES_IN_FLIGHT, eager=False
        )

    async def __call__(self, incoming: Incoming) -> Sequence[Outcome]:
        """Store and fold the events of one message. An event the database refuses is dead-lettered, alone."""
        return await unless_left(self._batcher.submit_all(incoming.events), incoming.link.lost)

    async def drain(self) -> None:
        """Finish the batches under way."""
        await self._batcher.drain()

    async def _project(self, events: list[Event]) -> Sequence[Outcome]:
        try:
            await self._write(events)
        except Unstorable as refusal:
            if len(events) == 1:
                return [await give_up(events[0], str(refusal))]
            # Halve until those that are refused are alone. What is written twice on the way does no harm.
            middle = len(events) // 2
            first, second = await all_ended([self._project(events[:middle]), self._project(events[middle:])])
            return [*first, *second]
        return [ACK] * len(events)

    async def _write(self, events: Sequence[Event]) -> None:
        if self._late is not None:
            events = await self._late.without(events)
        if not events:
            return
        with spans.process_batch(PROJECTOR_QUEUE, events):
            told = projection.fold(events)
            appended = await self._store.append(events)
            # Where an event was stored before, the stored one counts: the read model is the fold of the store.
            # Only after the store, for a rebuild rests on that order: see `model.pointer`.
            folded = told if not appended.duplicates else projection.fold(appended.events)
            # Not left to the message coming again: a broker that loses it would leave the model behind the store.
            await until_available(lambda: self._read_model.merge(folded), stop=self._never, tell=_tell)
        self._measure(events)

    def _measure(self, events: Sequence[Event]) -> None:
        metrics.BATCH_SIZE.labels("projection").observe(len(events))
        # One figure a batch, of its oldest event: a figure an event would take a tenth of the batch's time.
        oldest_ms = min(event.occurred_at_ms for event in events)
        metrics.PROJECTOR_LAG_SECONDS.observe((self._clock.now_ms() - oldest_ms) / 1000)
