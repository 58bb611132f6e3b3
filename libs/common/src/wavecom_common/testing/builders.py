"""Events for tests, with every field a test does not care about filled in."""

from wavecom_proto.v1.events_pb2 import Content, Event

from wavecom_common.events import types
from wavecom_common.kernel.ids import new_notification_id

NOW_MS = 1_700_000_000_000


def a_request(
    *,
    channel: str = "email",
    priority: str = "medium",
    recipient: str = "ada@example.com",
    message: str = "Your order has been shipped!",
    max_attempts: int = 3,
    on_unknown: str = "resend",
    now_ms: int = NOW_MS,
    notification_id: str = "",
) -> Event:
    """A `NotificationRequested`."""
    return types.requested(
        notification_id=notification_id or new_notification_id(now_ms),
        tenant="default",
        channel=channel,
        priority=priority,
        content=Content(
            recipient=recipient,
            message=message,
            subject="Order update" if channel == "email" else None,
            max_attempts=max_attempts,
            on_unknown=on_unknown,
        ),
        now_ms=now_ms,
    )


def a_dispatch(*, attempt: int = 1, request: Event | None = None, now_ms: int = NOW_MS) -> Event:
    """A `NotificationDispatched` of an attempt."""
    return types.dispatched(request or a_request(), attempt=attempt, now_ms=now_ms)
