"""The database's time, as a process knows it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.storage.client import Database
from wavecom_common.storage.database_clock import DatabaseClock, corrected

EPOCH_MS = 1_700_000_000_000


def test_it_has_no_time_before_the_database_was_heard() -> None:
    with pytest.raises(Unavailable):
        DatabaseClock().now_ms()


@given(
    ahead_ms=st.integers(-(10**12), 10**12),
    trips=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 2000)), min_size=1),
)
def test_it_is_off_by_no_more_than_the_quickest_answer_was_under_way(
    ahead_ms: int, trips: list[tuple[int, int, int]]
) -> None:
    """Each trip: its way there, its way back, and the pause after it, in milliseconds."""
    guess: float | None = None
    asked_ms = 0
    for there_ms, back_ms, pause_ms in trips:
        told_ms = asked_ms + there_ms + ahead_ms
        answered_ms = asked_ms + there_ms + back_ms
        guess = corrected(guess, told_ms, asked_at_ms=asked_ms, answered_at_ms=answered_ms)
        asked_ms = answered_ms + pause_ms
    assert guess is not None
    assert abs(guess - ahead_ms) <= min(there_ms + back_ms for there_ms, back_ms, _ in trips) + 1


def test_it_follows_a_database_whose_clock_is_set() -> None:
    local_s = [100.0]
    clock = DatabaseClock(lambda: local_s[0])
    for told_ms in (EPOCH_MS, EPOCH_MS + 3_600_000, EPOCH_MS - 60_000):
        asked_at_ms = clock.local_ms()
        local_s[0] += 0.01
        clock.hear(told_ms, asked_at_ms=asked_at_ms)
        assert abs(clock.now_ms() - told_ms) <= 11
        local_s[0] += 2


@pytest.mark.connected
async def test_a_database_is_asked_for_its_time_once(mongodb_url: str, database_name: str) -> None:
    database = Database(mongodb_url, database_name)
    await database.hear_time()
    # On one machine, one clock.
    assert abs(database.clock.now_ms() - SYSTEM_CLOCK.now_ms()) < 60_000
    await database.close()
    await database.hear_time()
