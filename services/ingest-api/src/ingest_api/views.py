"""What the query service says, in the words of the public API. Pure."""

from typing import Any, Literal

import orjson
from wavecom_common.events import types
from wavecom_proto.v1.events_pb2 import Event
from wavecom_proto.v1.status_pb2 import ListNotificationsResponse, Notification, Timeline

from ingest_api.answers import DetailsAnswer, PageAnswer, TimelineAnswer
from ingest_api.cursors import to_cursor
from ingest_api.times import iso


def details(notification: Notification) -> DetailsAnswer:
    """One notification with all its fields."""
    data = {
        "id": notification.id,
        "recipient": notification.recipient,
        "message": notification.message,
        "channel": notification.channel,
        "subject": _optional(notification, "subject"),
        "priority": notification.priority,
        "status": notification.status,
        "attempts": notification.attempts,
        "maxAttempts": notification.max_attempts,
        "lastAttemptAt": _optional_time(notification, "last_attempt_at_ms"),
        "sentAt": _optional_time(notification, "sent_at_ms"),
        "failedAt": _optional_time(notification, "failed_at_ms"),
        "error": _optional(notification, "error"),
        "metadata": orjson.loads(notification.metadata_json) if notification.metadata_json else None,
        "createdAt": iso(notification.created_at_ms),
        "updatedAt": iso(notification.updated_at_ms),
    }
    return DetailsAnswer.model_validate({"status": "success", "data": data})


def page(found: ListNotificationsResponse, *, page: int | None, limit: int) -> PageAnswer:
    """One page, with the place it has among all; None where it was asked for by cursor."""
    pagination = {
        "total": found.total,
        "page": page,
        "limit": limit,
        "totalPages": -(-found.total // limit),
        "totalIsCapped": found.total_is_capped,
        "nextCursor": to_cursor(found.next) if found.HasField("next") else None,
    }
    data = {"notifications": [_summary(notification) for notification in found.notifications], "pagination": pagination}
    return PageAnswer.model_validate({"status": "success", "data": data})


def timeline(notification_id: str, found: Timeline) -> TimelineAnswer:
    """Everything that happened to a notification."""
    data = {"id": notification_id, "events": [_event(event) for event in found.events]}
    return TimelineAnswer.model_validate({"status": "success", "data": data})


def _summary(notification: Notification) -> dict[str, Any]:
    return {
        "id": notification.id,
        "recipient": notification.recipient,
        "channel": notification.channel,
        "status": notification.status,
        "attempts": notification.attempts,
        "createdAt": iso(notification.created_at_ms),
        "sentAt": _optional_time(notification, "sent_at_ms"),
        "failedAt": _optional_time(notification, "failed_at_ms"),
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "id": event.event_id,
        "type": event.type,
        "attempt": event.attempt,
        "occurredAt": iso(event.occurred_at_ms),
        **_event_details(event),
    }


def _event_details(event: Event) -> dict[str, Any]:
    match event.type:
        case types.REQUESTED | types.DISPATCHED:
            return {"priority": event.priority}
        case types.STARTED:
            return {"provider": event.started.provider}
        case types.SENT:
            return {"provider": event.sent.provider, "providerMessageId": event.sent.provider_message_id or None}
        case types.RETRY_SCHEDULED:
            retry = event.retry_scheduled
            return {"error": retry.error, "nextAttempt": retry.next_attempt, "delayMs": retry.delay_ms}
        case types.FAILED:
            return {"error": event.failed.error, "reason": event.failed.reason}
        case types.OUTCOME_UNKNOWN:
            return {"action": event.outcome_unknown.action}
        case _:
            # A type of a later version: that it happened is all we can say.
            return {}


def _optional(notification: Notification, field: Literal["subject", "error"]) -> str | None:
    return getattr(notification, field) if notification.HasField(field) else None


def _optional_time(
    notification: Notification, field: Literal["last_attempt_at_ms", "sent_at_ms", "failed_at_ms"]
) -> str | None:
    return iso(getattr(notification, field)) if notification.HasField(field) else None
