"""The delivery loop: claim, call, store the outcome, publish what follows. The same for every channel."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Final

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.delivery import metering
from wavecom_common.delivery.claims import Call, LookAgain, Repeat, Resume, decide
from wavecom_common.delivery.policy import FAIL, Consequences, consequences, unknown_action
from wavecom_common.delivery.port import Adapter, Attempt
from wavecom_common.delivery.slots import Slots
from wavecom_common.events import types
from wavecom_common.events.outcomes import DeliveryOutcome, PermanentFailure, UnknownOutcome
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.errors import Draining
from wavecom_common.kernel.retrying import until_available
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import ACK, DeadLetter, Outcome, Retry
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.storage.ledger import Claim, Ledger
from wavecom_common.telemetry import attributes, spans
from wavecom_common.telemetry.logs import get_logger

PUBLISH_TIMEOUT_S: Final = 10.0

_log = get_logger()


class DeliveryLoop:
    """Handles `NotificationDispatched` events: calls the provider at most once an attempt, as far as that can be known.

    At most `max_in_flight` deliveries run at once; an event waits for its turn by priority. `look_again_ms` is how long
    an attempt that somebody else has in hand is left alone.
    """

    def __init__(
        self,
        adapter: Adapter,
        ledger: Ledger,
        publisher: EventPublisher,
        *,
        max_in_flight: int,
        provider_timeout_s: float,
        retry_delays_ms: Sequence[int],
        look_again_ms: int,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._adapter = adapter
        self._ledger = ledger
        self._publisher = publisher
        self._slots = Slots(max_in_flight)
        self._provider_timeout_s = provider_timeout_s
        self._retry_delays_ms = retry_delays_ms
        self._look_again = Retry(look_again_ms, "another sender has the attempt in hand")
        self._clock = clock
        self._in_hand: dict[str, asyncio.Task[Outcome]] = {}

    async def handle(self, incoming: Incoming) -> Sequence[Outcome]:
        """Deliver every event of the message; see `messaging.incoming.Handler`.

        Raises:
            Draining: not every event was begun before the process was told to stop.
            Unavailable: something could not be stored or published; called again, it goes on from there.
        """
        begun: list[asyncio.Task[Outcome]] = []
        for event in incoming.events:
            await self._slots.acquire(event.priority)
            if incoming.draining.is_set():
                self._slots.release()
                break
            begun.append(self._begin(event, incoming.draining))
        outcomes: list[Outcome] = []
        for result in await asyncio.gather(*begun, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
            outcomes.append(result)
        if len(outcomes) < len(incoming.events):
            raise Draining("stopped before every delivery of the message was begun")
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
        found = await self._ledger.claim(key)
        match decide(found, owner=self._ledger.owner, now_ms=self._clock.now_ms()):
            case Repeat(outcome, ended_at_ms):
                return await self._publish(self._consequences(event, outcome, ended_at_ms))
            case LookAgain():
                return self._look_again
            case Resume() if found is not None and not await self._ledger.take_over(key, found):
                return self._look_again
        ended = await self._ledger.settle(key, PermanentFailure(f"dead-lettered: {reason}"), self._clock.now_ms())
        await self._tell(event, ended)
        return DeadLetter(reason, ended=True)

    def _begin(self, event: Event, draining: asyncio.Event) -> asyncio.Task[Outcome]:
        key = _key(event)
        task = self._in_hand.get(key)
        if task is not None:
            # The broker gave it out again while we still work on it: whoever asks gets the one result.
            self._slots.release()
            return task
        task = asyncio.get_running_loop().create_task(self._deliver(key, event, draining))
        self._in_hand[key] = task

        def done(_: asyncio.Task[Outcome]) -> None:
            del self._in_hand[key]
            self._slots.release()

        task.add_done_callback(done)
        return task

    async def _deliver(self, key: str, event: Event, draining: asyncio.Event) -> Outcome:
        if event.type != types.DISPATCHED:
            return DeadLetter(f"a sender does not know the event type {event.type[:64]!r}")
        found = await self._ledger.claim(key)
        match decide(found, owner=self._ledger.owner, now_ms=self._clock.now_ms()):
            case Call():
                ended = await self._call_and_store(key, event, draining)
            case Repeat(outcome, ended_at_ms):
                return await self._publish(self._consequences(event, outcome, ended_at_ms))
            case Resume() if found is not None and await self._ledger.take_over(key, found):
                ended = await self._resume(key, event, draining)
            case Resume() | LookAgain():
                return self._look_again
        return await self._tell(event, ended)

    async def _tell(self, event: Event, ended: Claim) -> Outcome:
        assert ended.outcome is not None
        follows = self._consequences(event, ended.outcome, ended.ended_at_ms)
        metering.count_events(follows.now)
        return await self._publish(follows)

    async def _resume(self, key: str, event: Event, draining: asyncio.Event) -> Claim:
        action = unknown_action(event)
        _log.warning("delivery_outcome_unknown", event_id=event.event_id, action=action)
        if action == FAIL:
            lost = UnknownOutcome("the sender died during the provider call")
            return await self._store(key, lost, self._clock.now_ms(), draining)
        told = types.outcome_unknown(event, action=action, now_ms=self._clock.now_ms())
        metering.count_events([told])
        await self._publisher.publish([told], timeout_s=PUBLISH_TIMEOUT_S)
        return await self._call_and_store(key, event, draining)

    async def _call_and_store(self, key: str, event: Event, draining: asyncio.Event) -> Claim:
        started = types.started(event, provider=self._adapter.name, now_ms=self._clock.now_ms())
        telling = asyncio.ensure_future(self._publisher.publish([started], timeout_s=PUBLISH_TIMEOUT_S))
        try:
            outcome = await self._call(event)
            ended = await self._store(key, outcome, self._clock.now_ms(), draining)
        finally:
            await asyncio.gather(telling, return_exceptions=True)
        telling.result()
        return ended

    async def _call(self, event: Event) -> DeliveryOutcome:
        attempt = Attempt(
            notification_id=event.notification_id,
            number=event.attempt,
            dedup_key=event.dedup_key,
            recipient=event.content.recipient,
            message=event.content.message,
            subject=event.content.subject if event.content.HasField("subject") else None,
        )
        begun_s = perf_counter()
        with spans.provider_call(event, self._adapter.name) as span:
            outcome = await self._ask(attempt)
            span.set_attribute(attributes.OUTCOME, type(outcome).__name__)
        metering.count_call(self._adapter.name, outcome, perf_counter() - begun_s)
        return outcome

    async def _ask(self, attempt: Attempt) -> DeliveryOutcome:
        try:
            async with asyncio.timeout(self._provider_timeout_s):
                return await self._adapter.deliver(attempt)
        except TimeoutError:
            return UnknownOutcome(f"no answer from the provider within {self._provider_timeout_s:g} s")
        except Exception as error:  # noqa: BLE001 - an adapter's bug must not tell a delivery as failed or sent
            _log.exception("adapter_failed", notification_id=attempt.notification_id, attempt=attempt.number)
            return UnknownOutcome(f"the adapter raised {type(error).__name__}")

    async def _store(self, key: str, outcome: DeliveryOutcome, ended_at_ms: int, draining: asyncio.Event) -> Claim:
        # Only this process knows the outcome: it waits here until the ledger does, too.
        def tell(error: Exception) -> None:
            _log.warning("outcome_not_stored", attempt=key, error=str(error))

        return await until_available(lambda: self._ledger.settle(key, outcome, ended_at_ms), stop=draining, tell=tell)

    def _consequences(self, event: Event, outcome: DeliveryOutcome, ended_at_ms: int) -> Consequences:
        return consequences(
            event, outcome, provider=self._adapter.name, at_ms=ended_at_ms, retry_delays_ms=self._retry_delays_ms
        )

    async def _publish(self, follows: Consequences) -> Outcome:
        await self._publisher.publish(follows.now, timeout_s=PUBLISH_TIMEOUT_S)
        if follows.later:
            await self._publisher.publish_later(follows.later, delay_ms=follows.delay_ms, timeout_s=PUBLISH_TIMEOUT_S)
        return ACK


def _key(event: Event) -> str:
    return f"{event.notification_id}:{event.attempt}"
