"""From valid requests to events that are safe with the broker: the moment a notification is accepted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from opentelemetry import trace
from wavecom_common.events import types
from wavecom_common.events.payloads import Payload, payload_id, payload_of, refer, size_bytes
from wavecom_common.kernel.clock import Clock
from wavecom_common.kernel.errors import Overloaded, Unroutable, WavecomError
from wavecom_common.kernel.ids import new_notification_id
from wavecom_common.telemetry import metrics, spans
from wavecom_proto.v1.events_pb2 import Content, Event

from ingest_api.backlog import Backlog
from ingest_api.channels import NotificationRequest
from ingest_api.errors import RETRY_LATER_S, RETRY_SOON_S, Refusal

DEFAULT_PRIORITY: Final = "medium"
DEFAULT_ON_UNKNOWN: Final = "resend"


class EventSink(Protocol):
    """Where events go; `wavecom_common.messaging.publisher.EventPublisher` is the real one."""

    async def publish(self, events: Sequence[Event], *, timeout_s: float) -> None:
        """Return when every queue that needs the events has them.

        Raises:
            WavecomError: it could not be confirmed.
        """
        ...


class PayloadSink(Protocol):
    """Where large payloads are kept; `wavecom_common.storage.payloads.Payloads` is the real one."""

    async def store(self, payloads: Mapping[str, Payload], *, timeout_s: float) -> None:
        """Return when all of them are stored.

        Raises:
            WavecomError: it is not known whether they are.
        """
        ...


class Acceptor:
    """Accepts notifications of one tenant. A payload of more than `refer_above_bytes` is stored, and referred to."""

    def __init__(
        self,
        sink: EventSink,
        payloads: PayloadSink,
        backlog: Backlog,
        clock: Clock,
        *,
        tenant: str,
        default_max_attempts: int,
        timeout_s: float,
        refer_above_bytes: int,
    ) -> None:
        self._sink = sink
        self._payloads = payloads
        self._refer_above_bytes = refer_above_bytes
        self._backlog = backlog
        self._clock = clock
        self.tenant = tenant
        self._default_max_attempts = default_max_attempts
        self._timeout_s = timeout_s

    async def accept(self, requests: Sequence[NotificationRequest]) -> list[Event]:
        """The requests' events, in order, once all of them are confirmed.

        Raises:
            Refusal: 503. Too much is waiting, of which the least urgent request decides; or they were not confirmed:
                some of the events may have been taken, under ids the client never sees.
        """
        now_ms = self._clock.now_ms()
        return await self.accept_as(requests, [new_notification_id(now_ms) for _ in requests], now_ms)

    async def accept_as(
        self, requests: Sequence[NotificationRequest], notification_ids: Sequence[str], now_ms: int
    ) -> list[Event]:
        """The same under ids and a time that are given; once more for the same ones changes nothing.

        Raises:
            Refusal: 503, as `accept`.
        """
        events = [
            self._event(request, notification_id, now_ms)
            for request, notification_id in zip(requests, notification_ids, strict=True)
        ]
        self._backlog.check({(event.channel, event.priority) for event in events})
        await self._store_large(events)
        try:
            await self._sink.publish(events, timeout_s=self._timeout_s)
        except WavecomError as error:
            raise _refusal(error) from error
        for (channel, priority), count in Counter((event.channel, event.priority) for event in events).items():
            metrics.ACCEPTED.labels(channel, priority).inc(count)
        return events

    async def _store_large(self, events: Sequence[Event]) -> None:
        """Before anybody may ask for it by an event that names it."""
        payloads: dict[str, Payload] = {}
        for event in events:
            if size_bytes(event.content) > self._refer_above_bytes:
                payload = payload_of(event.content)
                stored_as = payload_id(self.tenant, payload)
                payloads[stored_as] = payload
                refer(event.content, stored_as)
        if not payloads:
            return
        try:
            await self._payloads.store(payloads, timeout_s=self._timeout_s)
        except WavecomError as error:
            raise Refusal(
                503,
                "A notification of this size cannot be stored now; try again",
                reason="payloads_unavailable",
                retry_after_s=RETRY_SOON_S,
            ) from error

    def _event(self, request: NotificationRequest, notification_id: str, now_ms: int) -> Event:
        event = types.requested(
            notification_id=notification_id,
            tenant=self.tenant,
            channel=request.channel,
            priority=request.priority or DEFAULT_PRIORITY,
            content=Content(
                recipient=request.recipient,
                message=request.message,
                subject=request.subject,
                metadata_json=request.metadata or "",
                max_attempts=request.max_attempts or self._default_max_attempts,
                on_unknown=request.on_unknown or DEFAULT_ON_UNKNOWN,
            ),
            now_ms=now_ms,
        )
        span = trace.get_current_span()
        if span.get_span_context().trace_flags.sampled:
            spans.carry(span, event)
        return event


def _refusal(error: WavecomError) -> Refusal:
    if isinstance(error, Overloaded):
        return Refusal(
            503, "The system is at its limit; try again later", reason="overloaded", retry_after_s=RETRY_LATER_S
        )
    if isinstance(error, Unroutable):
        return Refusal(
            503,
            "The system is not set up completely; try again later",
            reason="unroutable",
            retry_after_s=RETRY_LATER_S,
        )
    return Refusal(
        503,
        "The notification could not be confirmed as accepted; try again",
        reason="unavailable",
        retry_after_s=RETRY_SOON_S,
    )
