"""What becomes of a dead letter that is replayed, by what is known of its notification."""

from collections.abc import Sequence

import pytest
from status_projector.recovery.replaying import Over, Send, Verdict
from status_projector.recovery.replaying import judge as decide
from wavecom_common.events import types
from wavecom_common.kernel.ids import first_id_of
from wavecom_common.testing.builders import NOW_MS, a_dispatch, a_request
from wavecom_proto.v1.events_pb2 import Event

DAY_MS = 24 * 3600 * 1000
LATER_MS = NOW_MS + 5_000
REQUEST = a_request()
FIRST = a_dispatch(request=REQUEST)
STARTED = types.started(FIRST, provider="p", now_ms=NOW_MS)
SENT = types.sent(FIRST, provider="p", provider_message_id="x", now_ms=LATER_MS)
SECOND = types.dispatched(FIRST, attempt=2, now_ms=LATER_MS)


def judge(dead: Event, history: Sequence[Event], now_ms: int) -> Verdict:
    """Where nothing was ever removed."""
    return decide(dead, history, now_ms, removed_before="")


def failed(reason: str, cause: Event = FIRST) -> Event:
    return types.failed(cause, error="e", reason=reason, now_ms=LATER_MS)


@pytest.mark.parametrize(
    "history", [[], [REQUEST, FIRST], [FIRST, STARTED, failed(types.DEAD_LETTER)], [failed(types.LOST)]]
)
@pytest.mark.parametrize("dead", [FIRST, REQUEST])
def test_what_has_no_end_but_that_of_its_dead_letter_is_sent(dead: Event, history: Sequence[Event]) -> None:
    own = [event for event in history if event.attempt <= dead.attempt]
    assert judge(dead, own, LATER_MS) == Send()


@pytest.mark.parametrize(
    ("history", "why"),
    [
        ([FIRST, failed(types.DEAD_LETTER), SENT], "sent"),
        # The send counts, whenever it was told.
        ([failed(types.EXHAUSTED), SENT], "sent"),
        ([FIRST, failed(types.PERMANENT)], "failed (permanent)"),
        ([failed(types.REFUSED, REQUEST)], "failed (refused)"),
        (
            [FIRST, types.retry_scheduled(FIRST, error="busy", delay_ms=1, now_ms=LATER_MS)],
            "tried, and a retry scheduled",
        ),
        ([FIRST, failed(types.DEAD_LETTER), SECOND], "followed by attempt 2"),
    ],
)
def test_what_has_its_end_or_went_on_is_over(history: Sequence[Event], why: str) -> None:
    assert judge(FIRST, history, LATER_MS) == Over(why, LATER_MS)
    # However old it is.
    assert judge(FIRST, history, NOW_MS + 100 * DAY_MS) == Over(why, LATER_MS)


def test_a_request_that_was_dispatched_otherwise_is_over() -> None:
    assert judge(REQUEST, [REQUEST, FIRST], LATER_MS) == Over("followed by attempt 1", NOW_MS)


@pytest.mark.parametrize("dead", [FIRST, REQUEST])
def test_what_the_ledger_may_have_forgotten_is_reported_as_unknown_before_it_is_sent(dead: Event) -> None:
    history = [FIRST, STARTED, failed(types.DEAD_LETTER)] if dead is FIRST else [REQUEST]
    assert judge(dead, history, NOW_MS + 13 * DAY_MS) == Send()
    now_ms = NOW_MS + 13 * DAY_MS + 1
    assert judge(dead, history, now_ms) == Send([types.outcome_unknown(FIRST, action="resend", now_ms=now_ms)])


def test_what_the_ledger_may_have_forgotten_ends_as_failed_where_its_client_wants_no_second_call() -> None:
    careful = a_dispatch(request=a_request(on_unknown="fail"))
    now_ms = NOW_MS + 20 * DAY_MS
    verdict = judge(careful, [careful], now_ms)
    assert isinstance(verdict, Over)
    assert [event.type for event in verdict.reports] == [types.OUTCOME_UNKNOWN, types.FAILED]
    assert verdict.reports[1].failed.reason == types.UNKNOWN


@pytest.mark.parametrize("event", [STARTED, SENT])
def test_what_only_was_to_be_stored_is_always_sent(event: Event) -> None:
    assert judge(event, [SENT], NOW_MS + 100 * DAY_MS) == Send()


@pytest.mark.parametrize("dead", [FIRST, REQUEST])
@pytest.mark.parametrize("days_later", [1, 100])
def test_what_was_removed_is_over_and_what_only_was_not_stored_is_not(dead: Event, days_later: int) -> None:
    now_ms = NOW_MS + days_later * DAY_MS
    after, before = first_id_of(NOW_MS + 1000), first_id_of(NOW_MS - 1000)

    assert decide(dead, [], now_ms, removed_before=after) == Over("removed by retention", None)
    for history, removed_before in (([], before), ([REQUEST], after)):
        assert decide(dead, history, now_ms, removed_before=removed_before) == judge(dead, history, now_ms)
        assert isinstance(judge(dead, history, now_ms), Send)


def test_what_only_was_to_be_stored_is_left_to_the_projector() -> None:
    assert decide(SENT, [], LATER_MS, removed_before=first_id_of(LATER_MS)) == Send()
