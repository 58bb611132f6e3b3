"""How long a notification is kept, by its status, its age and its last event."""

import pytest
from status_projector.model.read_model import Standing
from status_projector.retention.policy import DAY_MS, Periods, Verdict
from wavecom_common.kernel.ids import first_id_of

NOW_MS = 1_900_000_000_000
OPEN, FAILED, SENT = 0, 1, 2
PERIODS = Periods.of_days(sent=30, failed=60)


def standing(final: int, *, accepted_days: float, updated_days: float) -> Standing:
    accepted_ms = NOW_MS - round(accepted_days * DAY_MS)
    return Standing(first_id_of(accepted_ms), final, NOW_MS - round(updated_days * DAY_MS), "")


@pytest.mark.parametrize(
    ("final", "accepted", "updated", "verdict"),
    [
        (SENT, 31, 31, Verdict.REMOVE),
        (SENT, 29, 29, Verdict.KEEP),
        # The walk stays an hour behind.
        (SENT, 30.02, 30.02, Verdict.KEEP),
        (SENT, 31, 29, Verdict.LATER),
        (FAILED, 31, 31, Verdict.KEEP),
        (FAILED, 61, 61, Verdict.REMOVE),
        (OPEN, 400, 400, Verdict.LATER),
    ],
)
def test_a_notification_goes_when_its_acceptance_and_its_last_event_are_old_enough(
    final: int, accepted: float, updated: float, verdict: Verdict
) -> None:
    assert PERIODS.verdict(standing(final, accepted_days=accepted, updated_days=updated), NOW_MS) is verdict


def test_zero_days_are_for_ever() -> None:
    periods = Periods.of_days(sent=0, failed=60)
    assert list(periods.by_status) == ["failed"]
    assert periods.verdict(standing(SENT, accepted_days=9999, updated_days=9999), NOW_MS) is Verdict.KEEP


def test_the_lag_is_how_long_the_oldest_that_waits_has_been_due() -> None:
    due_id = first_id_of(NOW_MS - 32 * DAY_MS)
    assert PERIODS.overdue_s("sent", due_id, NOW_MS) == 2 * 24 * 3600 - 3600
    assert PERIODS.overdue_s("sent", "", NOW_MS) == 0
