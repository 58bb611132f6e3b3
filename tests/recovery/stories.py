"""What happens to notifications, made up."""

from wavecom_common.events import types
from wavecom_common.testing.builders import NOW_MS, a_request
from wavecom_proto.v1.events_pb2 import Event


def story(number: int) -> list[Event]:
    """What happens to one notification: a failed attempt in every third, an unknown outcome in every fifth."""
    request = a_request(channel=("email", "sms", "push")[number % 3], now_ms=NOW_MS + number)
    attempt = types.dispatched(request, attempt=1, now_ms=NOW_MS + 10)
    events = [request, attempt, types.started(attempt, provider="simulated", now_ms=NOW_MS + 20)]
    if number % 5 == 0:
        events.append(types.outcome_unknown(attempt, action="resend", now_ms=NOW_MS + 30))
    if number % 3 == 0:
        events.append(types.retry_scheduled(attempt, error="busy", delay_ms=200, now_ms=NOW_MS + 40))
        attempt = types.dispatched(request, attempt=2, now_ms=NOW_MS + 240)
        events += [attempt, types.started(attempt, provider="simulated", now_ms=NOW_MS + 250)]
    events.append(types.sent(attempt, provider="simulated", provider_message_id="", now_ms=NOW_MS + 300))
    return events


def told_again(event: Event, late_ms: int) -> Event:
    """The same fact, as a process tells it whose clock went on."""
    again = Event()
    again.CopyFrom(event)
    again.occurred_at_ms += late_ms
    return again
