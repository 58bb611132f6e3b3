"""What follows from a delivery's outcome. Pure: the same outcome gives the same events, however often it is told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import types
from wavecom_common.events.outcomes import (
    Delivered,
    DeliveryOutcome,
    GivenUp,
    PermanentFailure,
    Throttled,
    TransientFailure,
    UnknownOutcome,
    Withdrawn,
)

RESEND: Final = "resend"
FAIL: Final = "fail"
DEFAULT_MAX_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Consequences:
    """Events to publish now, and events the broker hands on after `delay_ms`."""

    now: Sequence[Event]
    later: Sequence[Event] = field(default=())
    delay_ms: int = 0


def consequences(
    dispatched: Event, outcome: DeliveryOutcome, *, provider: str, at_ms: int, retry_delays_ms: Sequence[int]
) -> Consequences:
    """The events that tell what became of the attempt which `dispatched` ordered, ended at `at_ms`.

    `retry_delays_ms[n-1]` is the wait after attempt n failed; the last stands for all beyond.
    """
    match outcome:
        case Delivered(provider_message_id):
            event = types.sent(dispatched, provider=provider, provider_message_id=provider_message_id, now_ms=at_ms)
            return Consequences([event])
        case PermanentFailure(error) | GivenUp(error):
            return _end(dispatched, error, types.PERMANENT, at_ms)
        case Withdrawn(error):
            return _end(dispatched, error, types.REFUSED, at_ms)
        case TransientFailure(error):
            return _retry(dispatched, error, at_ms, _delay_ms(dispatched.attempt, retry_delays_ms))
        case Throttled(error, retry_after_s):
            delay_ms = _delay_ms(dispatched.attempt, retry_delays_ms, at_least_ms=round(retry_after_s * 1000))
            return _retry(dispatched, error, at_ms, delay_ms)
        case UnknownOutcome(error):
            return _unknown(dispatched, error, at_ms, _delay_ms(dispatched.attempt, retry_delays_ms))


def unknown_action(dispatched: Event) -> str:
    """What the client wants when nobody knows whether a call took effect: RESEND, the default, or FAIL."""
    return FAIL if dispatched.content.on_unknown == FAIL else RESEND


def next_attempt(dispatched: Event, now_ms: int) -> Consequences:
    """Another attempt in place of one that was given up, whatever the most is: an operator wants it.

    It keeps the dedup key, for a sender may have died in the given up one's call.
    """
    again = types.dispatched(dispatched, attempt=dispatched.attempt + 1, now_ms=now_ms, dedup_key=dispatched.dedup_key)
    return Consequences([again])


def _unknown(dispatched: Event, error: str, at_ms: int, delay_ms: int) -> Consequences:
    action = unknown_action(dispatched)
    told = types.outcome_unknown(dispatched, action=action, now_ms=at_ms)
    if action == FAIL:
        follows = _end(dispatched, error, types.UNKNOWN, at_ms)
    else:
        # The same dedup key: should the first call have taken effect, the second does nothing.
        follows = _retry(dispatched, error, at_ms, delay_ms, dedup_key=dispatched.dedup_key)
    return Consequences([told, *follows.now], follows.later, follows.delay_ms)


def _retry(dispatched: Event, error: str, at_ms: int, delay_ms: int, *, dedup_key: str = "") -> Consequences:
    attempt = dispatched.attempt
    if attempt >= (dispatched.content.max_attempts or DEFAULT_MAX_ATTEMPTS):
        return _end(dispatched, error, types.EXHAUSTED, at_ms)
    again = types.dispatched(dispatched, attempt=attempt + 1, now_ms=at_ms + delay_ms, dedup_key=dedup_key)
    scheduled = types.retry_scheduled(
        dispatched, error=error, delay_ms=delay_ms, now_ms=at_ms, dedup_key=again.dedup_key
    )
    return Consequences([scheduled], [again], delay_ms)


def _end(dispatched: Event, error: str, reason: str, at_ms: int) -> Consequences:
    return Consequences([types.failed(dispatched, error=error, reason=reason, now_ms=at_ms)])


def _delay_ms(attempt: int, delays_ms: Sequence[int], *, at_least_ms: int = 0) -> int:
    usual_ms = delays_ms[min(attempt, len(delays_ms)) - 1]
    return next((delay_ms for delay_ms in delays_ms if delay_ms >= max(usual_ms, at_least_ms)), delays_ms[-1])
