"""What is known about one notification: the value that events are folded into and that the read model stores.

Each part is replaced only by a greater one (or a smaller one, or set once), so facts can be joined in any order and
any number of times. Times are milliseconds since the epoch, UTC.
"""

from typing import Any, Final, NamedTuple

PENDING: Final = "pending"
QUEUED: Final = "queued"
PROCESSING: Final = "processing"
SENT: Final = "sent"
FAILED: Final = "failed"
STATUSES: Final = (PENDING, QUEUED, PROCESSING, SENT, FAILED)


class Head(NamedTuple):
    """How far the notification got. The greatest head wins; the order of the fields decides."""

    final: int  # 0: still open, 1: failed, 2: sent (a send that happened can't be undone)
    attempt: int
    rank: int  # of the event within its attempt
    status: str


class LastAttempt(NamedTuple):
    """The highest attempt that was started, and when. The greatest wins."""

    number: int
    told: int  # 1: its DeliveryStarted was seen; 0: inferred from what came after it
    at_ms: int


class LastError(NamedTuple):
    """What went wrong in the latest attempt that failed. The greatest wins."""

    attempt: int
    final: int
    text: str


class Request(NamedTuple):
    """What the client asked for. Only NotificationRequested tells it; set once."""

    tenant: str
    channel: str
    priority: str
    recipient: str
    message: str
    subject: str | None
    metadata: dict[str, Any] | None
    max_attempts: int
    created_at_ms: int
    # Where message, subject and metadata are when they are not here: see `events.payloads`.
    payload_id: str = ""


class Facts(NamedTuple):
    """What some events, perhaps all, tell about one notification."""

    head: Head
    updated_at_ms: int
    # The latest time for which something is to be expected: now, or when the wait before a retry is over. The greatest.
    due_at_ms: int | None = None
    last_attempt: LastAttempt | None = None
    last_error: LastError | None = None
    sent_at_ms: int | None = None
    failed_at_ms: int | None = None
    request: Request | None = None
