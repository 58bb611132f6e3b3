"""What a notification waits for that may be lost: made again from its stored events. Pure.

The delivery ledger makes a repeat harmless: an attempt that is in hand or over is not called again, and one whose call
was cut short is told as unknown first. It forgets after some days; what is older than that is told as unknown here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from wavecom_common.delivery.policy import FAIL, unknown_action
from wavecom_common.events import routing, types
from wavecom_common.storage.indexes import LEDGER_SURE_DAYS
from wavecom_proto.v1.events_pb2 import Event

# The kinds of what is sent again.
REQUEST: Final = "request"
ATTEMPT: Final = "attempt"
RETRY: Final = "retry"
FORGOTTEN: Final = "forgotten"

FORGOTTEN_AFTER_MS: Final = LEDGER_SURE_DAYS * 24 * 3600 * 1000
FORGOTTEN_ERROR: Final = "nobody knows any more whether it was sent"
_LOST_ERROR: Final = "the request was lost with the broker's data before it was stored"


@dataclass(frozen=True, slots=True)
class Order:
    """What to send again so that a notification goes on."""

    kind: str
    # For the one queue whose reader has to act on it, and not before that time.
    work: Event | None = None
    queue: str = ""
    due_at_ms: int = 0
    # For everybody, first.
    told: Sequence[Event] = field(default=())


def missing(events: Sequence[Event], now_ms: int) -> Order | None:
    """What the notification of these events waits for; None when it has an end or its request is not known."""
    events = [event for event in events if event.type in types.EVENT_TYPES]
    request = _find(events, types.REQUESTED, 0)
    if request is None or any(event.type in types.TERMINAL_TYPES for event in events):
        return None
    attempt = max(event.attempt for event in events)
    forgotten = now_ms - max(event.occurred_at_ms for event in events) > FORGOTTEN_AFTER_MS
    if attempt == 0 and not forgotten:
        return Order(REQUEST, request, routing.DISPATCHER_QUEUE, request.occurred_at_ms)
    scheduled = _find(events, types.RETRY_SCHEDULED, attempt)
    work = _attempt(events, request, max(attempt, 1)) if scheduled is None else _retry(request, scheduled)
    if forgotten:
        return _forgotten(work, now_ms)
    kind = ATTEMPT if scheduled is None else RETRY
    return Order(kind, work, routing.sender_queue(work.channel, work.priority), work.occurred_at_ms)


def is_lost(events: Sequence[Event]) -> bool:
    """Whether the notification has no end and its request is not stored: there is nothing to deliver."""
    ended = any(event.type in types.TERMINAL_TYPES for event in events)
    return not ended and _find(events, types.REQUESTED, 0) is None


def given_up(events: Sequence[Event], now_ms: int) -> Event:
    """The end of a notification that is lost. Should it be sent after all, that counts more."""
    last = max(events, key=lambda event: event.attempt)
    return types.failed(last, error=_LOST_ERROR, reason=types.LOST, now_ms=now_ms)


def _attempt(events: Sequence[Event], request: Event, attempt: int) -> Event:
    """The order of an attempt, as it was given."""
    ordered = _find(events, types.DISPATCHED, attempt)
    if ordered is not None:
        again = Event()
        again.CopyFrom(ordered)
        # Stored once, with the request.
        again.content.CopyFrom(request.content)
        return again
    # Its order is not stored, but something of the attempt is, or of the one that led to it.
    known = [event.dedup_key for event in events if event.attempt == attempt and event.dedup_key]
    before = _find(events, types.RETRY_SCHEDULED, attempt - 1)
    if before is not None:
        known.append(before.retry_scheduled.dedup_key)
    at_ms = min((event.occurred_at_ms for event in events if event.attempt == attempt), default=request.occurred_at_ms)
    return types.dispatched(request, attempt=attempt, now_ms=at_ms, dedup_key=known[0] if known else "")


def _retry(request: Event, scheduled: Event) -> Event:
    """The order of the attempt after the one that failed, as the sender gave it to the broker."""
    retry = scheduled.retry_scheduled
    return types.dispatched(
        request,
        attempt=scheduled.attempt + 1,
        now_ms=scheduled.occurred_at_ms + retry.delay_ms,
        dedup_key=retry.dedup_key,
    )


def _forgotten(work: Event, now_ms: int) -> Order:
    """The ledger may not know any more whether this was called: say so, and do what the client wants then."""
    action = unknown_action(work)
    told = [types.outcome_unknown(work, action=action, now_ms=now_ms)]
    if action == FAIL:
        told.append(types.failed(work, error=FORGOTTEN_ERROR, reason=types.UNKNOWN, now_ms=now_ms))
        return Order(FORGOTTEN, told=told)
    queue = routing.sender_queue(work.channel, work.priority)
    return Order(FORGOTTEN, work, queue, work.occurred_at_ms, told)


def _find(events: Sequence[Event], event_type: str, attempt: int) -> Event | None:
    return next((event for event in events if event.type == event_type and event.attempt == attempt), None)
