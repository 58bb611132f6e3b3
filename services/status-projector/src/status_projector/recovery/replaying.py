"""What becomes of a dead letter that an operator wants to replay: the event store knows what happened since. Pure.

The delivery ledger calls no provider twice, and forgets after some days; the event store keeps a notification until
retention removes it. So a replay asks it first: what has its end, or was removed with its end, is not sent again, and
what the ledger may have forgotten is reported as unknown before it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wavecom_common.delivery.policy import FAIL, unknown_action
from wavecom_common.events import types
from wavecom_proto.v1.events_pb2 import Event

from status_projector.recovery.missing_events import FORGOTTEN_AFTER_MS, FORGOTTEN_ERROR

# The ends that a replay is there to change.
_OPEN_ENDS: Final = frozenset({types.DEAD_LETTER, types.LOST})


@dataclass(frozen=True, slots=True)
class Send:
    """Send it back to its queue; what is reported first, if anything, goes before it."""

    reports: Sequence[Event] = ()


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing is left to do for it. `why` names what happened and when, for an operator; None: when is not known."""

    why: str
    at_ms: int | None
    # To be published all the same: how it ends now.
    reports: Sequence[Event] = ()


Verdict = Send | Over


def judge(dead: Event, history: Sequence[Event], now_ms: int, *, removed_before: str) -> Verdict:
    """What to do about the dead letter of `dead`, given the stored events of its notification.

    An event that only was to be stored does no harm however often it comes: it is always sent. Without any history, a
    notification with an id below `removed_before` was removed, which only happens some time after its end: sent again,
    its provider would be called anew and nothing of it stored.
    """
    if dead.type not in types.WORK_TYPES:
        return Send()
    if not history and dead.notification_id < removed_before:
        return Over("removed by retention", None)
    over = _over(dead, history)
    if over is not None:
        return over
    # From its order on, which is the earliest that the ledger can have heard of it.
    if now_ms - dead.occurred_at_ms <= FORGOTTEN_AFTER_MS:
        return Send()
    return _forgotten(dead, now_ms)


def _over(dead: Event, history: Sequence[Event]) -> Over | None:
    """The end of its notification, or of its attempt, if there is one that a replay does not change."""
    for event in history:
        if event.type == types.SENT:
            return Over("sent", event.occurred_at_ms)
    for event in history:
        if event.type == types.FAILED and event.failed.reason not in _OPEN_ENDS:
            return Over(f"failed ({event.failed.reason})", event.occurred_at_ms)
    for event in history:
        if event.type == types.RETRY_SCHEDULED and event.attempt == dead.attempt:
            return Over("tried, and a retry scheduled", event.occurred_at_ms)
    for event in history:
        if event.attempt > dead.attempt:
            return Over(f"followed by attempt {event.attempt}", event.occurred_at_ms)
    return None


def _forgotten(dead: Event, now_ms: int) -> Verdict:
    attempt = dead if dead.attempt else types.dispatched(dead, attempt=1, now_ms=dead.occurred_at_ms)
    action = unknown_action(dead)
    unknown = types.outcome_unknown(attempt, action=action, now_ms=now_ms)
    if action != FAIL:
        return Send([unknown])
    end = types.failed(attempt, error=FORGOTTEN_ERROR, reason=types.UNKNOWN, now_ms=now_ms)
    return Over("failed now, as its client wants where the outcome is unknown", now_ms, [unknown, end])
