"""Carrying out what was decided about an event that was not simply dealt with."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from aio_pika import DeliveryMode, Message
from pamqp.common import FieldValue
from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import routing, types
from wavecom_common.kernel.clock import Clock
from wavecom_common.kernel.ids import new_message_id
from wavecom_common.messaging.headers import DEAD_AT_HEADER, QUEUE_HEADER, REASON_HEADER, Past, headers_of
from wavecom_common.messaging.incoming import Incoming, Raw
from wavecom_common.messaging.outcome import DeadLetter, Outcome, Retry
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.telemetry import metrics
from wavecom_common.telemetry.logs import get_logger

# Why a message is sent back, as the metric has it: see `redelivery.Decision`.
QUARANTINED: Final = "quarantined"
WAITING: Final = "waiting"
RECOUNTED: Final = "recounted"
SPLIT: Final = "split"
ACQUITTED: Final = "acquitted"

_log = get_logger()


class Settlement:
    """Sends events back to their own queue after a wait, or to its dead-letter queue, and waits for the confirm."""

    def __init__(self, publisher: EventPublisher, clock: Clock) -> None:
        self._publisher = publisher
        self._clock = clock

    async def settle(self, incoming: Incoming, outcomes: Sequence[Outcome]) -> None:
        """Carry out the outcome of each event; an Ack needs nothing.

        Raises:
            Unavailable: not confirmed; call again, a repeat does no harm.
        """
        for event, outcome in zip(incoming.events, outcomes, strict=True):
            if isinstance(outcome, Retry):
                await self._retry(incoming, event, outcome)
            elif isinstance(outcome, DeadLetter):
                await self._dead_letter(incoming.queue, event, outcome)

    async def requeue(self, raw: Raw, past: Past, *, delay_ms: int, reason: str) -> None:
        """Send a message back to its queue after a wait, unread, as one with that past.

        Raises:
            Unavailable: not confirmed; call again.
        """
        await self._requeue(raw.queue, _copy(raw, headers_of(past)), delay_ms, reason)

    async def requeue_events(self, incoming: Incoming, past: Past, *, delay_ms: int, reason: str) -> None:
        """Send the events of a message back to its queue after a wait, as one with that past.

        Raises:
            Unavailable: not all is confirmed; call again.
        """
        for message in self._publisher.messages(incoming.events, headers_of(past)):
            await self._requeue(incoming.queue, message, delay_ms, reason)

    async def dead_letter(self, raw: Raw, reason: str) -> None:
        """Put a message that can't be read into the dead-letter queue as it came, with the reason.

        Raises:
            Unavailable: not confirmed; call again.
        """
        await self._dead(raw.queue, _copy(raw, self._dead_headers(raw.queue, reason)), reason)

    async def dead_letter_events(self, incoming: Incoming, reason: str) -> None:
        """Put a message whose events were read into the dead-letter queue, with the reason.

        Raises:
            Unavailable: not all is confirmed; call again.
        """
        for message in self._publisher.messages(incoming.events, self._dead_headers(incoming.queue, reason)):
            await self._dead(incoming.queue, message, reason)

    async def _requeue(self, queue: str, message: Message, delay_ms: int, reason: str) -> None:
        await self._publisher.publish_message(routing.retry_name(delay_ms), routing.direct_key(queue), message)
        metrics.REQUEUED.labels(queue, reason).inc()
        # One that only waits for its turn comes by every second.
        log = _log.debug if reason == WAITING else _log.warning
        log("message_requeued", queue=queue, reason=reason)

    async def _dead(self, queue: str, message: Message, reason: str) -> None:
        await self._publisher.publish_message(routing.DEAD_EXCHANGE, queue, message)
        metrics.DEAD_LETTERED.labels(queue).inc()
        _log.error("message_dead_lettered", queue=queue, reason=reason)

    async def _retry(self, incoming: Incoming, event: Event, outcome: Retry) -> None:
        queue = incoming.queue
        past = replace(incoming.past, failures=incoming.past.failures + outcome.failed)
        message = self._publisher.message([event], headers_of(past))
        await self._publisher.publish_message(routing.retry_name(outcome.delay_ms), routing.direct_key(queue), message)
        metrics.HANDLER_RETRIES.labels(queue).inc()
        _log.warning(
            "event_retried", queue=queue, event_id=event.event_id, reason=outcome.reason, delay_ms=outcome.delay_ms
        )

    async def _dead_letter(self, queue: str, event: Event, outcome: DeadLetter) -> None:
        reason = outcome.reason
        message = self._publisher.message([event], self._dead_headers(queue, reason))
        await self._publisher.publish_message(routing.DEAD_EXCHANGE, queue, message)
        if event.type in types.WORK_TYPES and outcome.fails:
            # Nothing else will end this notification: what was to be done for it can't be done.
            end = types.failed(event, error=reason, reason=types.DEAD_LETTER, now_ms=self._clock.now_ms())
            await self._publisher.publish([end])
        metrics.DEAD_LETTERED.labels(queue).inc()
        _log.error("event_dead_lettered", queue=queue, event_id=event.event_id, reason=reason)

    def _dead_headers(self, queue: str, reason: str) -> dict[str, FieldValue]:
        return {QUEUE_HEADER: queue, REASON_HEADER: reason, DEAD_AT_HEADER: self._clock.now_ms()}


def _copy(raw: Raw, headers: dict[str, FieldValue]) -> Message:
    return Message(
        raw.body,
        message_id=new_message_id(),
        content_type=raw.content_type,
        content_encoding=raw.content_encoding,
        delivery_mode=DeliveryMode.PERSISTENT,
        headers=headers,
    )
