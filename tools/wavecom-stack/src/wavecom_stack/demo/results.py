"""What became of the demo's notifications, from what the API says. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

TERMINAL = frozenset({"sent", "failed"})


@dataclass(frozen=True)
class ChannelResult:
    """One channel's line; times in seconds from POST to sent, None when nothing was sent."""

    channel: str
    accepted: int
    sent: int
    failed: int
    attempts: int
    p50_s: float | None
    p95_s: float | None

    @property
    def open(self) -> int:
        """How many have no end yet."""
        return self.accepted - self.sent - self.failed


def summarise(channel: str, notifications: Iterable[dict[str, Any]]) -> ChannelResult:
    """Count what the list endpoint says about the notifications of one channel."""
    own = [notification for notification in notifications if notification["channel"] == channel]
    times_s = [seconds_to_sent(notification) for notification in own if notification["status"] == "sent"]
    return ChannelResult(
        channel=channel,
        accepted=len(own),
        sent=len(times_s),
        failed=sum(notification["status"] == "failed" for notification in own),
        attempts=sum(notification["attempts"] for notification in own),
        p50_s=percentile(times_s, 50),
        p95_s=percentile(times_s, 95),
    )


def seconds_to_sent(notification: dict[str, Any]) -> float:
    """From POST to sent."""
    sent, created = (datetime.fromisoformat(notification[field]) for field in ("sentAt", "createdAt"))
    return (sent - created).total_seconds()


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The smallest value that at least `percent` % of the values do not exceed."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1] if values else None


def most_telling(notifications: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The notification whose timeline shows most: sent after a retry if there is one."""
    return max(notifications, key=lambda one: (one["status"] == "sent" and one["attempts"] > 1, one["attempts"]))
