"""The delivery of one channel's attempts: claim, call, record. The same for every channel."""

import asyncio
from collections.abc import Sequence
from functools import partial

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.delivery.batches import Batches
from wavecom_common.delivery.call import CallStage
from wavecom_common.delivery.claim import Claimed, ClaimStage
from wavecom_common.delivery.claims import Call, LookAgain, Repeat, Resume, attempt_key
from wavecom_common.delivery.connections import Connections, Line, Unconnected
from wavecom_common.delivery.give_up import GiveUpStage
from wavecom_common.delivery.ledger import Ledger
from wavecom_common.delivery.policy import FAIL, next_attempt, unknown_action
from wavecom_common.delivery.port import Adapter, BatchAdapter, ConnectedAdapter
from wavecom_common.delivery.record import RecordStage
from wavecom_common.delivery.starts import Starts
from wavecom_common.delivery.turns import Turns
from wavecom_common.events import types
from wavecom_common.events.outcomes import DeliveryOutcome, GivenUp, UnknownOutcome
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.errors import Draining, Unavailable, WavecomError
from wavecom_common.kernel.tasks import all_ended
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import DeadLetter, Outcome, Retry
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.storage.payloads import Payloads
from wavecom_common.telemetry.logs import get_logger

_log = get_logger()


class DeliveryLoop:
    """Handles `NotificationDispatched` events: calls the provider at most once an attempt, as far as that can be known.

    At most `max_in_flight` deliveries run at once; an event waits for its turn by priority, and for a connection where
    the adapter needs one, before its attempt is claimed. Each stage collects what concurrent deliveries ask of it.
    `provider_timeout_s` is for the call alone. `look_again_ms` is how long an attempt that another sender holds is left
    alone.
    """

    def __init__(
        self,
        adapter: Adapter | ConnectedAdapter,
        ledger: Ledger,
        payloads: Payloads,
        publisher: EventPublisher,
        *,
        max_in_flight: int,
        provider_timeout_s: float,
        retry_delays_ms: Sequence[int],
        look_again_ms: int,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._look_again = Retry(look_again_ms, "another sender has the attempt in hand")
        self._lines = lines_to(adapter, timeout_s=provider_timeout_s)
        self._turns = Turns(self._lines, max_in_flight)
        self._starts = Starts(publisher, adapter.name)
        self._claim = ClaimStage(ledger, payloads, self._starts, clock)
        self._call = CallStage(adapter.name, timeout_s=provider_timeout_s)
        self._record = RecordStage(
            ledger, publisher, self._starts, clock, provider=adapter.name, retry_delays_ms=retry_delays_ms
        )
        self._give_up = GiveUpStage(ledger, self._record, self._look_again)
        self._in_flight: dict[str, asyncio.Task[Outcome]] = {}

    async def handle(self, incoming: Incoming) -> Sequence[Outcome]:
        """Deliver every event of the message; see `messaging.incoming.Handler`.

        Raises:
            Draining: not every event was begun before the process was told to stop, or its link was lost.
            Unavailable: something could not be stored or published; called again, it goes on from there. Or the message
                is handled alone and the provider is away: that is no fault of its own.
        """
        events = incoming.events
        begun: list[asyncio.Task[Outcome]] = []
        why: WavecomError = Draining("left before every delivery of the message was begun")
        while len(begun) < len(events):
            try:
                lines = await self._turns.take(incoming, events[len(begun) :])
            except (Draining, Unavailable) as error:
                why = error
                break
            begun += [
                self._begin(event, line, incoming) for event, line in zip(events[len(begun) :], lines, strict=False)
            ]
        outcomes = await all_ended(begun)
        if len(outcomes) < len(events):
            raise why
        return outcomes

    async def give_up(self, event: Event, reason: str) -> Outcome:
        """End an attempt whose message was tried too often; one that is in flight here ends as it ends."""
        task = self._in_flight.get(attempt_key(event))
        return await (asyncio.shield(task) if task is not None else self._give_up.give_up(event, reason))

    def close(self) -> None:
        """Open no more connections to the provider."""
        self._lines.close()

    def _begin(self, event: Event, line: Line, incoming: Incoming) -> asyncio.Task[Outcome]:
        """Start a delivery, which holds its turn until it is done, and its line until it has called."""
        key = attempt_key(event)
        task = self._in_flight.get(key)
        if task is not None:
            # The broker gave it out again while it is still in flight: both get the one result.
            self._turns.end(line)
            return task
        task = asyncio.get_running_loop().create_task(self._deliver(event, line, incoming))
        self._in_flight[key] = task
        task.add_done_callback(partial(self._done, key, line))
        return task

    def _done(self, key: str, line: Line, _: asyncio.Task[Outcome]) -> None:
        del self._in_flight[key]
        # Settled, or not: then another sender may have it when its lease is over, for this one may be cut off.
        self._ledger.release(key)
        self._starts.forget(key)
        self._turns.end(line)

    async def _deliver(self, event: Event, line: Line, incoming: Incoming) -> Outcome:
        if event.type != types.DISPATCHED:
            return DeadLetter(f"a sender does not know the event type {event.type[:64]!r}")
        key = attempt_key(event)
        claimed = await self._claim.claim(event, incoming.draining)
        match claimed.decision:
            case Call():
                outcome = self._record.known(key) or await self._call.call(
                    event, claimed.payload, line, incoming.draining
                )
                result = await self._record.record(event, outcome)
                await self._starts.published(key)
                return result
            case Repeat(GivenUp()) if incoming.replayed:
                return await self._record.publish(next_attempt(event, self._clock.now_ms()))
            case Repeat(outcome, ended_at_ms):
                return await self._record.repeat(event, outcome, ended_at_ms)
            case Resume() if claimed.found is not None and await self._ledger.take_over(key, claimed.found):
                outcome = self._record.known(key) or await self._resume(event, claimed, line, incoming.draining)
                return await self._record.record(event, outcome)
            case Resume() | LookAgain():
                return self._look_again

    async def _resume(self, event: Event, claimed: Claimed, line: Line, draining: asyncio.Event) -> DeliveryOutcome:
        """Go on with an attempt whose sender died at it: nothing says whether its call took effect."""
        action = unknown_action(event)
        _log.warning("delivery_outcome_unknown", event_id=event.event_id, action=action)
        await self._record.interrupted(event, unknown=action != FAIL)
        if action == FAIL:
            return UnknownOutcome("the sender died during the provider call")
        return await self._call.call(event, claimed.payload, line, draining)


def lines_to(adapter: Adapter | ConnectedAdapter, *, timeout_s: float) -> Connections | Unconnected:
    """How deliveries reach the provider: over connections of its own, several in a call, or each for itself."""
    if isinstance(adapter, ConnectedAdapter):
        return Connections(adapter)
    if isinstance(adapter, BatchAdapter) and adapter.max_batch > 1:
        return Batches(adapter, timeout_s=timeout_s)
    return Unconnected(adapter)
