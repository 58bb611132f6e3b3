"""Which queues have no backlog, and what may be in the hands of who reads them."""

from status_projector.recovery.backlogs import without_backlog
from wavecom_common.events import routing

EMAIL, SMS = routing.sender_queue("email", "high"), routing.sender_queue("sms", "high")
NOW_MS = 10_000_000
BEFORE_MS = NOW_MS - 300_000
HOUR_MS = 3_600_000
EMPTY = {routing.PROJECTOR_QUEUE: 0, EMAIL: 0, SMS: 0}


def free(waiting: dict[str, int | None], held: dict[str, int]) -> dict[str, int]:
    return dict(without_backlog(waiting, held, before_ms=BEFORE_MS, now_ms=NOW_MS, most_waiting=100))


def test_a_queue_with_more_messages_than_the_limit_or_that_is_missing_is_left_alone() -> None:
    assert free({**EMPTY, EMAIL: 100, SMS: 101}, {}) == {EMAIL: BEFORE_MS}
    assert free({**EMPTY, EMAIL: None}, {}) == {SMS: BEFORE_MS}


def test_of_a_queue_of_which_events_are_held_only_what_was_due_before_them_is_looked_for() -> None:
    assert free(EMPTY, {EMAIL: BEFORE_MS - 5}) == {EMAIL: BEFORE_MS - 5, SMS: BEFORE_MS}
    assert free(EMPTY, {EMAIL: BEFORE_MS + 5}) == {EMAIL: BEFORE_MS, SMS: BEFORE_MS}


def test_one_event_that_is_held_for_ever_keeps_the_others_for_an_hour() -> None:
    assert free(EMPTY, {EMAIL: 5})[EMAIL] == NOW_MS - HOUR_MS


def test_nothing_is_looked_for_while_the_projector_has_a_backlog_or_holds_events() -> None:
    assert free({**EMPTY, routing.PROJECTOR_QUEUE: 101}, {}) == {}
    assert free({**EMPTY, routing.PROJECTOR_QUEUE: None}, {}) == {}
    assert free(EMPTY, {routing.PROJECTOR_QUEUE: NOW_MS}) == {}
