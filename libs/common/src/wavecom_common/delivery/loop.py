"""The delivery loop: claim, call, store the outcome, publish what follows. The same for every channel."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.delivery import metering
from wavecom_common.delivery.calling import Calling
from wavecom_common.delivery.claims import Call, Decision, LookAgain, Repeat, Resume, decide
from wavecom_common.delivery.connections import Connections, Line, Unconnected
from wavecom_common.delivery.policy import FAIL, Consequences, consequences, next_attempt, unknown_action
from wavecom_common.delivery.port import Adapter, ConnectedAdapter
from wavecom_common.delivery.slots import Slots
from wavecom_common.events import types
from wavecom_common.events.outcomes import DeliveryOutcome, GivenUp, UnknownOutcome, Withdrawn
from wavecom_common.events.payloads import Payload
from wavecom_common.kernel.batcher import Batcher
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.errors import Draining, Unavailable, WavecomError
from wavecom_common.kernel.retrying import unless_left, until_available
from wavecom_common.kernel.tasks import all_ended
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import ACK, DeadLetter, Outcome, Retry
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.storage.ledger import Claim, Ledger, Settled
from wavecom_common.storage.payloads import Payloads
from wavecom_common.telemetry import spans
from wavecom_common.telemetry.logs import get_logger

# How long a message that is handled alone may wait for a provider that is away.
_ALONE_PATIENCE_S: Final = 5.0
# Deliveries that end within this time of each other are stored and told together.
_LINGER_S: Final = 0.020
_MAX_ENDINGS: Final = 500
_ENDINGS_IN_FLIGHT: Final = 4

_log = get_logger()


@dataclass(frozen=True, slots=True)
class _Claimed:
    """What the claims of a group of attempts found, by their keys, and what is done about each."""

    found: Mapping[str, Claim | None]
    decisions: Mapping[str, Decision]
    # Those that the events name, by their names.
    payloads: Mapping[str, Payload]
    # Tells that those are started which are to be called; returns the error when that failed.
    telling: asyncio.Task[WavecomError | None]


@dataclass(frozen=True, slots=True)
class _Ending:
    """An attempt that was made and is not yet stored."""

    event: Event
    settled: Settled


@dataclass(frozen=True, slots=True)
class _Stored:
    """An ending that is stored: its place among those stored with it, and the task that publishes what follows."""

    place: int
    publishing: asyncio.Task[Sequence[Outcome | BaseException]]


class DeliveryLoop:
    """Handles `NotificationDispatched` events: calls the provider at most once an attempt, as far as that can be known.

    At most `max_in_flight` deliveries run at once; an event waits for its turn by priority, and for a connection where
    the adapter needs one, before its attempt is claimed. `provider_timeout_s` is for the call alone. `look_again_ms` is
    how long an attempt that another sender holds is left alone.
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
        self._provider = adapter.name
        self._lines = Connections(adapter) if isinstance(adapter, ConnectedAdapter) else Unconnected(adapter)
        self._ledger = ledger
        self._payloads = payloads
        self._publisher = publisher
        self._slots = Slots(max_in_flight)
        self._calling = Calling(adapter.name, timeout_s=provider_timeout_s)
        self._retry_delays_ms = retry_delays_ms
        self._look_again = Retry(look_again_ms, "another sender has the attempt in hand")
        self._clock = clock
        self._in_hand: dict[str, asyncio.Task[Outcome]] = {}
        # Outcomes that are not stored yet: a call whose outcome is known is not made again, whatever goes wrong.
        self._made: dict[str, DeliveryOutcome] = {}
        self._never = asyncio.Event()
        self._endings: Batcher[_Ending, _Stored] = Batcher(
            self._store, max_items=_MAX_ENDINGS, linger_s=_LINGER_S, max_in_flight=_ENDINGS_IN_FLIGHT, eager=False
        )

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
                lines = await self._turn(incoming, events[len(begun) :])
            except (Draining, Unavailable) as error:
                why = error
                break
            begun += self._begin(events[len(begun) : len(begun) + len(lines)], lines, incoming)
        outcomes = await all_ended(begun)
        if len(outcomes) < len(events):
            raise why
        return outcomes

    async def give_up(self, event: Event, reason: str) -> Outcome:
        """End an attempt whose message was tried too often; see `messaging.incoming.GiveUp`.

        The ledger decides here as well, so that the notification has one end: an outcome that is stored counts, and
        whoever still has the attempt in hand is left to finish it.
        """
        key = _key(event)
        if (task := self._in_hand.get(key)) is not None:
            return await asyncio.shield(task)
        if event.type != types.DISPATCHED:
            return DeadLetter(reason)
        try:
            return await self._give_up(key, event, reason)
        finally:
            self._ledger.release(key)

    async def _give_up(self, key: str, event: Event, reason: str) -> Outcome:
        found = await self._ledger.claim(key)
        match decide(found, owner=self._ledger.owner, now_ms=self._ledger.now_ms()):
            case Repeat(outcome, ended_at_ms):
                return await self._repeat(event, outcome, ended_at_ms)
            case LookAgain():
                return self._look_again
            case Resume() if found is not None and not await self._ledger.take_over(key, found):
                return self._look_again
            case Resume():
                # Its sender died at it: the call may have taken effect, and this is the last chance to say so.
                told = [self._started(event, self._clock.now_ms()), self._unknown(event)]
                await self._publisher.publish(told)
                metering.count_events(told)
        outcome = self._made.get(key) or GivenUp(f"dead-lettered: {reason}")
        ended = await self._ledger.settle(key, outcome, self._clock.now_ms())
        self._made.pop(key, None)
        follows = self._follows(event, ended)
        metering.count_events(follows.now)
        await self._publish_one(follows)
        return DeadLetter(reason, fails=False)

    def close(self) -> None:
        """Open no more connections to the provider."""
        self._lines.close()

    async def _turn(self, incoming: Incoming, events: Sequence[Event]) -> Sequence[Line]:
        """Lines for the first of these events, at least for one; each stands for a slot, too."""
        # All events of a message are of one priority: they came through one queue.
        priority, abandoned = events[0].priority, incoming.link.abandoned
        patience_s = _ALONE_PATIENCE_S if incoming.past.quarantined else None
        while True:
            try:
                lines = await unless_left(self._acquire(priority, len(events)), abandoned, timeout_s=patience_s)
            except TimeoutError:
                if self._lines.unavailable is not None:
                    raise Unavailable(f"the provider is away: {self._lines.unavailable}") from None
                continue
            if not abandoned.is_set():
                return lines
            for line in lines:
                line.release()
            self._slots.release(len(lines))
            raise Draining("left before its turn")

    async def _acquire(self, priority: str, at_most: int) -> Sequence[Line]:
        # In this order: whoever waits for a slot does so only until others have stored what they know.
        lines = await self._lines.acquire(priority, at_most)
        count = 0
        try:
            count = await self._slots.acquire(priority, len(lines))
        finally:
            for line in lines[count:]:
                line.release()
        return lines[:count]

    def _begin(self, events: Sequence[Event], lines: Sequence[Line], incoming: Incoming) -> list[asyncio.Task[Outcome]]:
        """Start deliveries, one task each, that are claimed together.

        Each holds a slot until it is done, and its line until it has called.
        """
        loop = asyncio.get_running_loop()
        fresh = {key: event for event in events if (key := _key(event)) not in self._in_hand}
        claiming = loop.create_task(self._claim(fresh, incoming.draining)) if fresh else None
        tasks: list[asyncio.Task[Outcome]] = []
        for event, line in zip(events, lines, strict=True):
            key = _key(event)
            task = self._in_hand.get(key)
            if task is not None:
                # The broker gave it out again while we still work on it: both get the one result.
                line.release()
                self._slots.release()
            else:
                assert claiming is not None
                task = loop.create_task(self._deliver(key, event, line, claiming, incoming))
                self._in_hand[key] = task
                task.add_done_callback(partial(self._done, key, line))
            tasks.append(task)
        return tasks

    def _done(self, key: str, line: Line, _: asyncio.Task[Outcome]) -> None:
        del self._in_hand[key]
        # Settled, or not: then another sender may have it when its lease is over, for this one may be cut off.
        self._ledger.release(key)
        line.release()
        self._slots.release()

    async def _claim(self, events: Mapping[str, Event], draining: asyncio.Event) -> _Claimed:
        """Claim attempts, by their keys, and begin to tell that those are started which are to be."""
        known = {key: event for key, event in events.items() if event.type == types.DISPATCHED}
        # Before the claim, so that none is held for what could not be loaded.
        payloads = await self._payloads.load({name for event in known.values() if (name := event.content.payload_id)})
        with spans.batch_write("claim attempts", list(known.values())):
            found = dict(zip(known, await self._ledger.claim_all(list(known)), strict=True))
        leases_ms, now_ms = self._ledger.now_ms(), self._clock.now_ms()
        decisions = {key: decide(claim, owner=self._ledger.owner, now_ms=leases_ms) for key, claim in found.items()}
        started = [
            self._started(known[key], now_ms) for key, decision in decisions.items() if isinstance(decision, Call)
        ]
        telling = asyncio.get_running_loop().create_task(self._tell(started, draining))
        return _Claimed(found, decisions, payloads, telling)

    async def _deliver(
        self, key: str, event: Event, line: Line, claiming: asyncio.Task[_Claimed], incoming: Incoming
    ) -> Outcome:
        claimed = await claiming
        if event.type != types.DISPATCHED:
            return DeadLetter(f"a sender does not know the event type {event.type[:64]!r}")
        found = claimed.found[key]
        match claimed.decisions[key]:
            case Call():
                outcome = self._made.get(key) or await self._calling.call(
                    event, line, claimed.payloads, incoming.draining
                )
            case Repeat(GivenUp()) if incoming.replayed:
                return await self._publish_one(next_attempt(event, self._clock.now_ms()))
            case Repeat(outcome, ended_at_ms):
                return await self._repeat(event, outcome, ended_at_ms)
            case Resume() if found is not None and await self._ledger.take_over(key, found):
                outcome = self._made.get(key) or await self._resume(event, line, claimed.payloads, incoming.draining)
            case Resume() | LookAgain():
                return self._look_again
        settled = Settled(key, outcome, self._clock.now_ms())
        self._made[key] = outcome
        stored = await self._endings.submit(_Ending(event, settled))
        ended = (await stored.publishing)[stored.place]
        if isinstance(ended, BaseException):
            raise ended
        if (untold := await claimed.telling) is not None:
            raise untold
        return ended

    async def _tell(self, events: Sequence[Event], draining: asyncio.Event) -> WavecomError | None:
        """Publish, and return the error instead of raising it: several wait for this.

        Nobody tells it later, for whoever gets an attempt again finds its outcome. So this goes on until it is told.
        """

        def tell(error: Exception) -> None:
            _log.warning("starts_not_told", attempts=len(events), error=str(error))

        async def publish() -> None:
            await self._publisher.publish(events)

        try:
            await until_available(publish, stop=draining, tell=tell)
        except WavecomError as error:
            return error
        return None

    async def _resume(
        self, event: Event, line: Line, payloads: Mapping[str, Payload], draining: asyncio.Event
    ) -> DeliveryOutcome:
        """Go on with an attempt whose sender died at it: nobody knows whether its call took effect."""
        action = unknown_action(event)
        _log.warning("delivery_outcome_unknown", event_id=event.event_id, action=action)
        told = [self._started(event, self._clock.now_ms())]
        if action != FAIL:
            told.append(self._unknown(event))
        await self._publisher.publish(told)
        metering.count_events(told)
        if action == FAIL:
            return UnknownOutcome("the sender died during the provider call")
        return await self._calling.call(event, line, payloads, draining)

    async def _store(self, endings: list[_Ending]) -> Sequence[_Stored | BaseException]:
        """Store the outcomes, and begin to publish what follows from them.

        Nothing waits here for the broker: with that away, the outcomes of all calls under way are stored all the same.
        """
        try:
            held = await self._settle(endings)
        except Exception as error:  # noqa: BLE001 - one that can't be stored must not keep the others
            if len(endings) == 1:
                return [error]
            return [one for ending in endings for one in await self._store([ending])]
        follows = [self._follows(ending.event, claim) for ending, claim in zip(endings, held, strict=True)]
        metering.count_events(event for one in follows for event in one.now)
        publishing = asyncio.get_running_loop().create_task(self._publish(follows))
        return [_Stored(place, publishing) for place in range(len(endings))]

    async def _settle(self, endings: Sequence[_Ending]) -> Sequence[Claim]:
        # Only this process knows the outcomes: it waits here until the ledger does, too, also while it drains.
        def tell(error: Exception) -> None:
            first = endings[0].settled.key
            _log.warning("outcomes_not_stored", attempts=len(endings), first=first, error=str(error))

        settled = [ending.settled for ending in endings]
        with spans.batch_write("store outcomes", [ending.event for ending in endings]):
            held = await until_available(lambda: self._ledger.settle_all(settled), stop=self._never, tell=tell)
        for one in settled:
            self._made.pop(one.key, None)
        return held

    def _follows(self, event: Event, claim: Claim) -> Consequences:
        assert claim.outcome is not None
        return self._consequences(event, claim.outcome, claim.ended_at_ms)

    def _consequences(self, event: Event, outcome: DeliveryOutcome, ended_at_ms: int) -> Consequences:
        return consequences(
            event, outcome, provider=self._provider, at_ms=ended_at_ms, retry_delays_ms=self._retry_delays_ms
        )

    async def _repeat(self, event: Event, outcome: DeliveryOutcome, ended_at_ms: int) -> Outcome:
        """Tell a stored outcome again; who told it first may have died at it, also before it told the start."""
        follows = self._consequences(event, outcome, ended_at_ms)
        if isinstance(outcome, GivenUp):
            await self._publish_one(follows)
            return DeadLetter(outcome.error, fails=False)
        if isinstance(outcome, Withdrawn):
            # It was never started.
            return await self._publish_one(follows)
        return await self._publish_one(replace(follows, now=[self._started(event, ended_at_ms), *follows.now]))

    def _unknown(self, event: Event) -> Event:
        return types.outcome_unknown(event, action=unknown_action(event), now_ms=self._clock.now_ms())

    def _started(self, event: Event, now_ms: int) -> Event:
        return types.started(event, provider=self._provider, now_ms=now_ms)

    async def _publish_one(self, follows: Consequences) -> Outcome:
        [outcome] = await self._publish([follows])
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def _publish(self, follows: Sequence[Consequences]) -> Sequence[Outcome | BaseException]:
        """Publish what follows from each; where only a retry could not be placed, the error in its place."""
        await self._publisher.publish([event for one in follows for event in one.now])
        later: dict[int, list[Event]] = {}
        for one in follows:
            if one.later:
                later.setdefault(one.delay_ms, []).extend(one.later)
        failed: dict[int, WavecomError] = {}
        for delay_ms, events in later.items():
            try:
                await self._publisher.publish_later(events, delay_ms=delay_ms)
            except WavecomError as error:
                failed[delay_ms] = error
        return [failed.get(one.delay_ms, ACK) if one.later else ACK for one in follows]


def _key(event: Event) -> str:
    # What is not an attempt must not be taken for the one it names.
    return f"{event.notification_id}:{event.attempt}" if event.type == types.DISPATCHED else event.event_id
