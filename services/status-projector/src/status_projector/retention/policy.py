"""How long a notification is kept: the decision. Pure.

The id carries the time of the acceptance, so what is old stands together at the beginning of every collection. The last
event counts as well: one that waited for long is kept as long after its end.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from wavecom_common.kernel.ids import first_id_of, id_time_ms

from status_projector.model.facts import FAILED, SENT
from status_projector.model.read_model import Standing

DAY_MS: Final = 24 * 3600 * 1000
# As long as the API answers an idempotency key with the id.
SHORTEST_MS: Final = DAY_MS
_STATUS_OF: Final = {1: FAILED, 2: SENT}
# A walk stays so far behind: nearly every notification has its end by then.
_MOST_SLACK_MS: Final = 3600 * 1000


class Verdict(Enum):
    """What becomes of a notification that a walk comes by."""

    REMOVE = "remove"
    # Its time is not over; the walk of its own status comes by again.
    KEEP = "keep"
    # It has no end, or a young one: this walk has to look at it again.
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Periods:
    """How long notifications are kept, in milliseconds by status; one that is not here is kept for ever."""

    by_status: dict[str, int]

    @classmethod
    def of_days(cls, *, sent: float, failed: float) -> "Periods":
        """Of settings, in which 0 is for ever."""
        days = {SENT: sent, FAILED: failed}
        return cls({status: round(count * DAY_MS) for status, count in days.items() if count > 0})

    def walked_before(self, status: str, now_ms: int) -> str:
        """The walk of a status looks at notifications with an id below this one."""
        period_ms = self.by_status[status]
        return first_id_of(now_ms - period_ms - min(_MOST_SLACK_MS, period_ms // 10))

    def verdict(self, found: Standing, now_ms: int) -> Verdict:
        """What becomes of it."""
        status = _STATUS_OF.get(found.final)
        if status is None:
            return Verdict.LATER
        period_ms = self.by_status.get(status)
        if period_ms is None or found.notification_id >= self.walked_before(status, now_ms):
            return Verdict.KEEP
        return Verdict.REMOVE if found.updated_at_ms < now_ms - period_ms else Verdict.LATER

    def overdue_s(self, status: str, done_up_to: str, now_ms: int) -> float:
        """How long ago the walk should have passed what it has reached; 0 when it is where it should be."""
        if not done_up_to:
            return 0.0
        return max(0, id_time_ms(self.walked_before(status, now_ms)) - id_time_ms(done_up_to)) / 1000


def status_of(found: Standing) -> str:
    """The status of one that has an end."""
    return _STATUS_OF[found.final]
