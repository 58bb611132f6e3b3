"""A notification's facts as a client sees them: the fields of the original schema, derived."""

import orjson
from wavecom_common.events.payloads import Payload
from wavecom_proto.v1.status_pb2 import Notification

from status_projector.model.facts import FAILED, SENT, Facts, Request


def notification(notification_id: str, facts: Facts) -> Notification:
    """The answer about one notification; `facts` must hold its request."""
    request = request_of(facts)
    status = facts.head.status
    attempt, error = facts.last_attempt, facts.last_error
    return Notification(
        id=notification_id,
        tenant=request.tenant,
        recipient=request.recipient,
        message=request.message,
        channel=request.channel,
        subject=request.subject,
        status=status,
        attempts=attempt.number if attempt else 0,
        max_attempts=request.max_attempts,
        last_attempt_at_ms=attempt.at_ms if attempt else None,
        sent_at_ms=facts.sent_at_ms if status == SENT else None,
        failed_at_ms=facts.failed_at_ms if status == FAILED else None,
        error=error.text if error and status != SENT else None,
        metadata_json="" if request.metadata is None else orjson.dumps(request.metadata).decode(),
        created_at_ms=request.created_at_ms,
        updated_at_ms=facts.updated_at_ms,
        priority=request.priority,
    )


def request_of(facts: Facts) -> Request:
    """The request, of a notification that is shown."""
    assert facts.request is not None, "a notification is not shown before its request is known"
    return facts.request


def with_payload(shown: Notification, payload: Payload) -> Notification:
    """The answer with the payload that its request refers to."""
    shown.message, shown.metadata_json = payload.message, payload.metadata_json
    if payload.subject is not None:
        shown.subject = payload.subject
    return shown
