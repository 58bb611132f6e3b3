"""The facts there are about a notification, and how each is made from the one before it.

Every function here is pure. Event ids are deterministic, so the same fact told twice is one event in the store.
"""

from typing import Final

from wavecom_proto.v1.events_pb2 import Content, Event, Failed, OutcomeUnknown, RetryScheduled, Sent, Started

REQUESTED: Final = "NotificationRequested"
DISPATCHED: Final = "NotificationDispatched"
STARTED: Final = "DeliveryStarted"
SENT: Final = "NotificationSent"
RETRY_SCHEDULED: Final = "RetryScheduled"
FAILED: Final = "NotificationFailed"
OUTCOME_UNKNOWN: Final = "DeliveryOutcomeUnknown"

EVENT_TYPES: Final = (REQUESTED, DISPATCHED, STARTED, SENT, RETRY_SCHEDULED, FAILED, OUTCOME_UNKNOWN)
TERMINAL_TYPES: Final = frozenset({SENT, FAILED})
# Events that somebody has to act on, so that the notification goes on.
WORK_TYPES: Final = frozenset({REQUESTED, DISPATCHED})

# Why a notification ended as failed.
PERMANENT: Final = "permanent"
EXHAUSTED: Final = "exhausted"
UNROUTABLE: Final = "unroutable"
UNKNOWN: Final = "outcome_unknown"
DEAD_LETTER: Final = "dead_letter"
LOST: Final = "lost"
# The client was answered with 503, and nothing was sent.
REFUSED: Final = "refused"


def event_id(notification_id: str, attempt: int, event_type: str) -> str:
    """The id of the one event of that type that an attempt can have."""
    return f"{notification_id}:{attempt}:{event_type}"


def requested(
    *,
    notification_id: str,
    tenant: str,
    channel: str,
    priority: str,
    content: Content,
    now_ms: int,
    traceparent: str = "",
    tracestate: str = "",
) -> Event:
    """A client asked for a notification, and we said yes."""
    return Event(
        event_id=event_id(notification_id, 0, REQUESTED),
        type=REQUESTED,
        notification_id=notification_id,
        tenant=tenant,
        channel=channel,
        priority=priority,
        attempt=0,
        occurred_at_ms=now_ms,
        requested_at_ms=now_ms,
        traceparent=traceparent,
        tracestate=tracestate,
        content=content,
    )


def dispatched(cause: Event, *, attempt: int, now_ms: int, dedup_key: str = "") -> Event:
    """Attempt `attempt` (from 1) was handed to the channel's sender; `cause` carries the content.

    The attempt's dedup key is its own, unless it repeats one whose outcome is unknown: then it is that one's.
    """
    event = _following(cause, DISPATCHED, attempt, now_ms)
    event.dedup_key = dedup_key or f"{cause.notification_id}:{attempt}"
    event.content.CopyFrom(cause.content)
    return event


def started(cause: Event, *, provider: str, now_ms: int) -> Event:
    """The attempt's provider call is about to be made."""
    event = _following(cause, STARTED, cause.attempt, now_ms)
    event.dedup_key = cause.dedup_key
    event.started.CopyFrom(Started(provider=provider))
    return event


def sent(cause: Event, *, provider: str, provider_message_id: str, now_ms: int) -> Event:
    """The provider took the notification."""
    event = _following(cause, SENT, cause.attempt, now_ms)
    event.sent.CopyFrom(Sent(provider=provider, provider_message_id=provider_message_id))
    return event


def retry_scheduled(cause: Event, *, error: str, delay_ms: int, now_ms: int, dedup_key: str = "") -> Event:
    """The attempt failed for now; the next one follows after `delay_ms`, with this dedup key (see `dispatched`)."""
    event = _following(cause, RETRY_SCHEDULED, cause.attempt, now_ms)
    event.retry_scheduled.CopyFrom(
        RetryScheduled(error=error, next_attempt=cause.attempt + 1, delay_ms=delay_ms, dedup_key=dedup_key)
    )
    return event


def failed(cause: Event, *, error: str, reason: str, now_ms: int) -> Event:
    """The notification will not be delivered."""
    event = _following(cause, FAILED, cause.attempt, now_ms)
    event.failed.CopyFrom(Failed(error=error, reason=reason))
    return event


def outcome_unknown(cause: Event, *, action: str, now_ms: int) -> Event:
    """An earlier provider call of this attempt may or may not have taken effect."""
    event = _following(cause, OUTCOME_UNKNOWN, cause.attempt, now_ms)
    event.outcome_unknown.CopyFrom(OutcomeUnknown(action=action))
    return event


def _following(cause: Event, event_type: str, attempt: int, now_ms: int) -> Event:
    return Event(
        event_id=event_id(cause.notification_id, attempt, event_type),
        type=event_type,
        notification_id=cause.notification_id,
        tenant=cause.tenant,
        channel=cause.channel,
        priority=cause.priority,
        attempt=attempt,
        occurred_at_ms=now_ms,
        requested_at_ms=cause.requested_at_ms,
        traceparent=cause.traceparent,
        tracestate=cause.tracestate,
    )
