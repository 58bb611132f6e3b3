"""The fold: what events say about a notification. Pure, and the same for every order and repetition of events.

Nothing here looks at which clock said what to decide what counts: attempts and ranks do. Clocks of processes differ.
"""

from collections.abc import Iterable
from typing import Final, TypeVar

from wavecom_common.events import types
from wavecom_proto.v1.events_pb2 import Event

from status_projector.model import metadata
from status_projector.model.facts import FAILED, PROCESSING, QUEUED, SENT, Facts, Head, LastAttempt, LastError, Request

# Event type: whether it ends the notification (sent beats failed), its rank within its attempt, the status it gives.
_HEADS: Final = {
    types.REQUESTED: (0, 0, QUEUED),
    types.DISPATCHED: (0, 1, QUEUED),
    types.STARTED: (0, 2, PROCESSING),
    types.OUTCOME_UNKNOWN: (0, 3, PROCESSING),
    types.RETRY_SCHEDULED: (0, 4, QUEUED),
    types.FAILED: (1, 5, FAILED),
    types.SENT: (2, 5, SENT),
}
_TELL_ERRORS: Final = frozenset({types.RETRY_SCHEDULED, types.FAILED})
# Reasons of a failure that needed no attempt.
_NEVER_STARTED: Final = frozenset({types.UNROUTABLE, types.DEAD_LETTER, types.LOST, types.REFUSED})

_Part = TypeVar("_Part", Head, LastAttempt, LastError, int)


def facts(event: Event) -> Facts | None:
    """What one event tells; None for an event type from the future.

    Raises:
        Unstorable: the metadata is not a JSON object that the database takes.
    """
    event_type = event.type
    known = _HEADS.get(event_type)
    if known is None:
        return None
    final, rank, status = known
    attempt, at_ms = event.attempt, event.occurred_at_ms
    return Facts(
        head=Head(final, attempt, rank, status),
        updated_at_ms=at_ms,
        due_at_ms=at_ms + event.retry_scheduled.delay_ms if event_type == types.RETRY_SCHEDULED else at_ms,
        last_attempt=_last_attempt(event, event_type, attempt, at_ms),
        last_error=_last_error(event, final) if event_type in _TELL_ERRORS else None,
        sent_at_ms=at_ms if status == SENT else None,
        failed_at_ms=at_ms if status == FAILED else None,
        request=_request(event) if event_type == types.REQUESTED else None,
    )


def join(one: Facts, other: Facts) -> Facts:
    """What both tell together: commutative, associative, and joining a thing with itself changes nothing."""
    return Facts(
        head=max(one.head, other.head),
        updated_at_ms=max(one.updated_at_ms, other.updated_at_ms),
        due_at_ms=_greater(one.due_at_ms, other.due_at_ms),
        last_attempt=_greater(one.last_attempt, other.last_attempt),
        last_error=_greater(one.last_error, other.last_error),
        sent_at_ms=_smaller(one.sent_at_ms, other.sent_at_ms),
        failed_at_ms=_smaller(one.failed_at_ms, other.failed_at_ms),
        request=one.request or other.request,
    )


def apply(state: Facts | None, event: Event) -> Facts | None:
    """The state after one more event; None while nothing is known.

    Raises:
        Unstorable: the metadata is not a JSON object that the database takes.
    """
    told = facts(event)
    if state is None or told is None:
        return state or told
    return join(state, told)


def fold(events: Iterable[Event]) -> dict[str, Facts]:
    """The states of all notifications that the events are about, by id.

    Raises:
        Unstorable: the metadata of an event is not a JSON object that the database takes.
    """
    states: dict[str, Facts] = {}
    for event in events:
        state = apply(states.get(event.notification_id), event)
        if state is not None:
            states[event.notification_id] = state
    return states


def _last_attempt(event: Event, event_type: str, attempt: int, at_ms: int) -> LastAttempt | None:
    if event_type == types.STARTED:
        return LastAttempt(attempt, 1, at_ms)
    if attempt == 0 or event_type == types.DISPATCHED:
        return None
    if event_type == types.FAILED and event.failed.reason in _NEVER_STARTED:
        return None
    return LastAttempt(attempt, 0, at_ms)


def _last_error(event: Event, final: int) -> LastError:
    told = event.failed if event.type == types.FAILED else event.retry_scheduled
    return LastError(event.attempt, final, told.error)


def _request(event: Event) -> Request:
    content = event.content
    return Request(
        tenant=event.tenant,
        channel=event.channel,
        priority=event.priority,
        recipient=content.recipient,
        message=content.message,
        subject=content.subject if content.HasField("subject") else None,
        metadata=metadata.from_json(content.metadata_json),
        max_attempts=content.max_attempts,
        created_at_ms=event.occurred_at_ms,
        payload_id=content.payload_id,
    )


def _greater(one: _Part | None, other: _Part | None) -> _Part | None:
    return max(one, other) if one is not None and other is not None else one or other


def _smaller(one: int | None, other: int | None) -> int | None:
    return min(one, other) if one is not None and other is not None else one if other is None else other
