"""What follows from a delivery's outcome. Pure: the same outcome gives the same events, however often it is told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.delivery.port import (
    Delivered,
    DeliveryOutcome,
    PermanentFailure,
    Throttled,
    TransientFailure,
    UnknownOutcome,
)
from wavecom_common.events import types

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
        case PermanentFailure(error):
            return Consequences([types.failed(dispatched, error=error, reason=types.PERMANENT, now_ms=at_ms)])
        case UnknownOutcome(error) if dispatched.content.on_unknown == FAIL:
            return Consequences([types.failed(dispatched, error=error, reason=types.UNKNOWN, now_ms=at_ms)])
        case TransientFailure(error) | UnknownOutcome(error):
            return _retry(dispatched, error, at_ms, retry_delays_ms, at_least_ms=0)
        case Throttled(error, retry_after_s):
            return _retry(dispatched, error, at_ms, retry_delays_ms, at_least_ms=round(retry_after_s * 1000))


def _retry(
    dispatched: Event, error: str, at_ms: int, retry_delays_ms: Sequence[int], *, at_least_ms: int
) -> Consequences:
    attempt = dispatched.attempt
    if attempt >= (dispatched.content.max_attempts or DEFAULT_MAX_ATTEMPTS):
        return Consequences([types.failed(dispatched, error=error, reason=types.EXHAUSTED, now_ms=at_ms)])
    delay_ms = _delay_ms(attempt, retry_delays_ms, at_least_ms)
    scheduled = types.retry_scheduled(dispatched, error=error, delay_ms=delay_ms, now_ms=at_ms)
    again = types.dispatched(dispatched, attempt=attempt + 1, now_ms=at_ms + delay_ms)
    return Consequences([scheduled], [again], delay_ms)


def _delay_ms(attempt: int, delays_ms: Sequence[int], at_least_ms: int) -> int:
    usual_ms = delays_ms[min(attempt, len(delays_ms)) - 1]
    return next((delay_ms for delay_ms in delays_ms if delay_ms >= max(usual_ms, at_least_ms)), delays_ms[-1])
