"""From valid requests to events that are safe with the broker: the moment a notification is accepted."""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry import trace
from wavecom_common.events import types
from wavecom_common.events.payloads import Payload, payload_id, payload_of, refer, size_bytes
from wavecom_common.kernel.clock import Clock
from wavecom_common.kernel.errors import Overloaded, Unroutable, WavecomError
from wavecom_common.kernel.ids import new_notification_id
from wavecom_common.telemetry import metrics, spans
from wavecom_proto.v1.events_pb2 import Content, Event

from ingest_api.backlog import Backlog
from ingest_api.errors import RETRY_LATER_S, RETRY_SOON_S, Refusal
from ingest_api.requests import NotificationRequest
from ingest_api.sinks import EventSink, PayloadSink
from ingest_api.withdrawals import Withdrawals

DEFAULT_PRIORITY: Final = "medium"
DEFAULT_ON_UNKNOWN: Final = "resend"


class Unconfirmed(Refusal):
    """503: not confirmed, though the broker may have some of it, which has to be withdrawn before the client hears."""


@dataclass(frozen=True, slots=True)
class Budget:
    """By when one request has to be through, by the loop's clock in seconds: its steps share it."""

    # Reserving a key, storing payloads and publishing.
    publish_by_s: float
    # Storing the answer, or withdrawing what is refused.
    answer_by_s: float


# What is left for that when all the time to publish was used.
CONCLUDE_S: Final = 2.0

# A notification of a request that is accepted, or why it is not.
Accepted = Event | Refusal


class Acceptor:
    """Accepts notifications of one tenant. A payload of more than `refer_above_bytes` is stored, and referred to.

    `timeout_s` is how long a request may take from its whole body to the broker's confirm, all steps together.
    """

    def __init__(
        self,
        sink: EventSink,
        payloads: PayloadSink,
        withdrawals: Withdrawals,
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
        self._withdrawals = withdrawals
        self._refer_above_bytes = refer_above_bytes
        self._backlog = backlog
        self._clock = clock
        self.tenant = tenant
        self._default_max_attempts = default_max_attempts
        self._timeout_s = timeout_s

    def budget(self) -> Budget:
        """That of a request whose body is there now."""
        publish_by_s = asyncio.get_running_loop().time() + self._timeout_s
        return Budget(publish_by_s, publish_by_s + CONCLUDE_S)

    async def accept(self, requests: Sequence[NotificationRequest]) -> Sequence[Accepted]:
        """What became of each request; at least one is accepted. Those that are not, are not delivered either.

        Raises:
            Refusal: 503. Too much is waiting, of which the least urgent request decides; or none was confirmed.
        """
        budget = self.budget()
        now_ms = self._clock.now_ms()
        events = self.events(requests, [new_notification_id(now_ms) for _ in requests], now_ms)
        try:
            await self.publish(events, budget)
        except Unconfirmed:
            ends = self._withdrawals.ends(events)
            withdrawn = await self._withdrawals.carry_out(
                lambda: self._withdrawals.withdraw(ends), count=len(ends), by_s=budget.answer_by_s
            )
            if withdrawn is None or len(withdrawn) == len(events):
                raise
            accepted = without(events, withdrawn)
            count_accepted(accepted)
            return accepted
        count_accepted(events)
        return events

    def events(
        self, requests: Sequence[NotificationRequest], notification_ids: Sequence[str], now_ms: int
    ) -> list[Event]:
        """The events of requests under these ids and at that time: the same for the same ones."""
        return [
            self._event(request, notification_id, now_ms)
            for request, notification_id in zip(requests, notification_ids, strict=True)
        ]

    async def publish(self, events: Sequence[Event], budget: Budget) -> None:
        """Return when all of them are confirmed; once more for the same ones changes nothing.

        Raises:
            Unconfirmed: 503, they are not, and the broker may have some of them.
            Refusal: 503, it has none of them.
        """
        self._backlog.check({(event.channel, event.priority) for event in events})
        await self._store_large(events, budget)
        try:
            await self._sink.publish(events, timeout_s=_left_s(budget.publish_by_s))
        except WavecomError as error:
            raise _refusal(error) from error

    async def _store_large(self, events: Sequence[Event], budget: Budget) -> None:
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
            await self._payloads.store(payloads, timeout_s=_left_s(budget.publish_by_s))
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


def without(events: Sequence[Event], withdrawn: Collection[str]) -> list[Accepted]:
    """What became of requests of which these were withdrawn: senders had the others already."""
    return [_withdrawn() if event.notification_id in withdrawn else event for event in events]


def count_accepted(accepted: Sequence[Accepted]) -> None:
    """Count those that are answered with 201 now."""
    kinds = Counter((one.channel, one.priority) for one in accepted if isinstance(one, Event))
    for (channel, priority), count in kinds.items():
        metrics.ACCEPTED.labels(channel, priority).inc(count)


def _left_s(by_s: float) -> float:
    return max(0.001, by_s - asyncio.get_running_loop().time())


def _withdrawn() -> Refusal:
    return Refusal(503, "The notification could not be confirmed as accepted; post it again", reason="unavailable")


def _refusal(error: WavecomError) -> Refusal:
    # What is no error of a publisher says nothing about it.
    kind = Unconfirmed if getattr(error, "handed_over", True) else Refusal
    if isinstance(error, Overloaded):
        return kind(
            503, "The system is at its limit; try again later", reason="overloaded", retry_after_s=RETRY_LATER_S
        )
    if isinstance(error, Unroutable):
        return kind(
            503,
            "The system is not set up completely; try again later",
            reason="unroutable",
            retry_after_s=RETRY_LATER_S,
        )
    return kind(
        503,
        "The notification could not be confirmed as accepted; try again",
        reason="unavailable",
        retry_after_s=RETRY_SOON_S,
    )
