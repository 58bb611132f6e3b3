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
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import DeadLetter, Outcome, Retry
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.telemetry import metrics
from wavecom_common.telemetry.logs import get_logger

FAILURES_HEADER: Final = "wavecom-failures"
SUSPECT_HEADER: Final = "wavecom-suspect"
# How often it came back before it was published anew; the broker counts from there.
RETURNS_HEADER: Final = "wavecom-returns"
# Of a message that an operator sent back: a sender orders a next attempt in place of one that was given up.
REPLAYED_HEADER: Final = "wavecom-replayed"
REASON_HEADER: Final = "wavecom-reason"
QUEUE_HEADER: Final = "wavecom-queue"
DEAD_AT_HEADER: Final = "wavecom-dead-at-ms"

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

    async def again(self, incoming: Incoming, *, delay_ms: int, suspect: bool, returns: int) -> None:
        """Send a message back to its queue, as one that came back so often.

        Raises:
            Unavailable: not confirmed; call again.
        """
        headers = _headers(replace(incoming, suspect=suspect, redeliveries=returns), incoming.failures)
        message = self._publisher.message(incoming.events, headers)
        key = routing.direct_key(incoming.queue)
        await self._publisher.publish_message(routing.retry_name(delay_ms), key, message)
        # One that only waits for its turn comes by every second.
        log = _log.debug if incoming.suspect and suspect else _log.warning
        log("message_sent_back", queue=incoming.queue, events=len(incoming.events), suspect=suspect)

    async def dead_letter_body(
        self, queue: str, body: bytes, *, content_type: str | None, content_encoding: str | None, reason: str
    ) -> None:
        """Put a body that can't be read into the dead-letter queue as it came, with the reason.

        Raises:
            Unavailable: not confirmed; call again.
        """
        message = Message(
            body,
            message_id=new_message_id(),
            content_type=content_type,
            content_encoding=content_encoding,
            delivery_mode=DeliveryMode.PERSISTENT,
            headers=self._dead_headers(queue, reason),
        )
        await self._publisher.publish_message(routing.DEAD_EXCHANGE, queue, message)
        metrics.DEAD_LETTERED.labels(queue).inc()
        _log.error("message_dead_lettered", queue=queue, reason=reason)

    async def _retry(self, incoming: Incoming, event: Event, outcome: Retry) -> None:
        queue = incoming.queue
        message = self._publisher.message([event], _headers(incoming, incoming.failures + outcome.failed))
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


def _headers(incoming: Incoming, failures: int) -> dict[str, FieldValue]:
    """What has to be known of a message when it comes again: a trial that ended with "later" acquits nobody."""
    headers: dict[str, FieldValue] = {FAILURES_HEADER: failures}
    if incoming.redeliveries:
        headers[RETURNS_HEADER] = incoming.redeliveries
    if incoming.suspect:
        headers[SUSPECT_HEADER] = 1
    if incoming.replayed:
        headers[REPLAYED_HEADER] = 1
    return headers
