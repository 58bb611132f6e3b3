import pytest
from wavecom_common.delivery.policy import Consequences, consequences, next_attempt, unknown_action
from wavecom_common.events import types
from wavecom_common.events.outcomes import (
    Delivered,
    DeliveryOutcome,
    GivenUp,
    PermanentFailure,
    Throttled,
    TransientFailure,
    UnknownOutcome,
    Withdrawn,
)
from wavecom_common.testing.builders import a_dispatch, a_request

DELAYS_MS = [5_000, 10_000, 20_000, 40_000]


def after(
    outcome: DeliveryOutcome, *, attempt: int = 1, max_attempts: int = 3, unknown: str = "resend"
) -> Consequences:
    request = a_request(max_attempts=max_attempts, on_unknown=unknown)
    return consequences(
        a_dispatch(attempt=attempt, request=request),
        outcome,
        provider="test",
        at_ms=1_000,
        retry_delays_ms=DELAYS_MS,
    )


def told(follows: Consequences) -> list[str]:
    return [event.type for event in follows.now]


def test_a_delivery_ends_as_sent() -> None:
    follows = after(Delivered("abc"))
    assert told(follows) == [types.SENT]
    assert follows.now[0].sent.provider_message_id == "abc"
    assert not follows.later


@pytest.mark.parametrize(("attempt", "delay_ms"), [(1, 5_000), (2, 10_000), (3, 20_000), (4, 40_000), (9, 40_000)])
def test_a_failure_for_now_waits_twice_as_long_each_time(attempt: int, delay_ms: int) -> None:
    follows = after(TransientFailure("busy"), attempt=attempt, max_attempts=10)
    assert told(follows) == [types.RETRY_SCHEDULED]
    assert follows.delay_ms == follows.now[0].retry_scheduled.delay_ms == delay_ms
    [again] = follows.later
    assert (again.type, again.attempt) == (types.DISPATCHED, attempt + 1)
    assert again.content == a_request(max_attempts=10).content


def test_the_last_attempt_that_fails_ends_as_failed() -> None:
    follows = after(TransientFailure("busy"), attempt=3)
    assert told(follows) == [types.FAILED]
    assert follows.now[0].failed.reason == types.EXHAUSTED
    assert not follows.later


def test_what_was_withdrawn_ends_as_refused() -> None:
    follows = after(Withdrawn("not confirmed"))
    assert told(follows) == [types.FAILED]
    assert (follows.now[0].failed.reason, follows.now[0].failed.error) == (types.REFUSED, "not confirmed")
    assert not follows.later


def test_a_permanent_failure_does_not_retry() -> None:
    follows = after(PermanentFailure("no such address"))
    assert told(follows) == [types.FAILED]
    assert follows.now[0].failed.reason == types.PERMANENT


@pytest.mark.parametrize(("retry_after_s", "delay_ms"), [(0.0, 5_000), (7.0, 10_000), (3600.0, 40_000)])
def test_a_throttled_attempt_waits_as_long_as_the_provider_says(retry_after_s: float, delay_ms: int) -> None:
    assert after(Throttled("slow down", retry_after_s)).delay_ms == delay_ms


def test_an_unknown_outcome_is_told_and_tried_again_under_the_same_dedup_key() -> None:
    follows = after(UnknownOutcome("no answer"), attempt=2)
    assert told(follows) == [types.OUTCOME_UNKNOWN, types.RETRY_SCHEDULED]
    [again] = follows.later
    assert again.dedup_key == f"{again.notification_id}:2"
    assert again.attempt == 3
    # What is sent again out of the event store has it from here.
    assert follows.now[1].retry_scheduled.dedup_key == again.dedup_key


def test_an_attempt_after_a_known_failure_has_a_dedup_key_of_its_own() -> None:
    [again] = after(TransientFailure("busy"), attempt=2).later
    assert again.dedup_key == f"{again.notification_id}:3"


def test_an_unknown_outcome_fails_where_the_client_wants_no_second_call() -> None:
    follows = after(UnknownOutcome("no answer"), unknown="fail")
    assert told(follows) == [types.OUTCOME_UNKNOWN, types.FAILED]
    assert follows.now[1].failed.reason == types.UNKNOWN
    assert not follows.later


def test_telling_it_twice_tells_the_same() -> None:
    request = a_request()
    dispatch = a_dispatch(request=request)
    for outcome in (Delivered("x"), TransientFailure("e"), UnknownOutcome("e")):
        both = [consequences(dispatch, outcome, provider="test", at_ms=9, retry_delays_ms=DELAYS_MS) for _ in range(2)]
        assert both[0] == both[1]


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (PermanentFailure("why"), types.PERMANENT),
        (GivenUp("why"), types.PERMANENT),
        (Withdrawn("why"), types.REFUSED),
        (TransientFailure("why"), types.EXHAUSTED),
        (Throttled("why", 7.0), types.EXHAUSTED),
    ],
)
def test_an_end_says_why_and_when(outcome: DeliveryOutcome, reason: str) -> None:
    event = a_dispatch(attempt=3)
    follows = consequences(event, outcome, provider="test", at_ms=9, retry_delays_ms=DELAYS_MS)
    assert follows == Consequences([types.failed(event, error="why", reason=reason, now_ms=9)])


@pytest.mark.parametrize("outcome", [TransientFailure("why"), Throttled("why", 0.0)])
def test_a_retry_says_why_and_when_and_is_due_after_its_delay(outcome: DeliveryOutcome) -> None:
    event = a_dispatch(attempt=2)
    follows = consequences(event, outcome, provider="test", at_ms=9, retry_delays_ms=DELAYS_MS)
    key = f"{event.notification_id}:3"
    scheduled = types.retry_scheduled(event, error="why", delay_ms=10_000, now_ms=9, dedup_key=key)
    again = types.dispatched(event, attempt=3, now_ms=10_009)
    assert follows == Consequences([scheduled], [again], 10_000)


def test_an_unknown_outcome_says_why_and_when_and_what_is_done_about_it() -> None:
    event = a_dispatch(attempt=2)
    follows = consequences(event, UnknownOutcome("why"), provider="test", at_ms=9, retry_delays_ms=DELAYS_MS)
    unknown = types.outcome_unknown(event, action="resend", now_ms=9)
    scheduled = types.retry_scheduled(event, error="why", delay_ms=10_000, now_ms=9, dedup_key=event.dedup_key)
    again = types.dispatched(event, attempt=3, now_ms=10_009, dedup_key=event.dedup_key)
    assert follows == Consequences([unknown, scheduled], [again], 10_000)


def test_an_unknown_outcome_that_may_not_be_called_again_says_why_and_when() -> None:
    event = a_dispatch(request=a_request(on_unknown="fail"))
    follows = consequences(event, UnknownOutcome("why"), provider="test", at_ms=9, retry_delays_ms=DELAYS_MS)
    unknown = types.outcome_unknown(event, action="fail", now_ms=9)
    failed = types.failed(event, error="why", reason=types.UNKNOWN, now_ms=9)
    assert follows == Consequences([unknown, failed])


def test_the_last_attempt_whose_outcome_is_unknown_ends_as_exhausted() -> None:
    follows = after(UnknownOutcome("no answer"), attempt=3)
    assert told(follows) == [types.OUTCOME_UNKNOWN, types.FAILED]
    assert follows.now[1].failed.reason == types.EXHAUSTED


def test_three_attempts_are_made_where_the_request_says_nothing() -> None:
    assert told(after(TransientFailure("busy"), attempt=2, max_attempts=0)) == [types.RETRY_SCHEDULED]
    assert told(after(TransientFailure("busy"), attempt=3, max_attempts=0)) == [types.FAILED]


@pytest.mark.parametrize(
    ("retry_after_s", "delay_ms"), [(5.0, 5_000), (5.0004, 5_000), (5.001, 10_000), (10.0, 10_000)]
)
def test_a_throttled_attempt_waits_for_the_next_longer_delay(retry_after_s: float, delay_ms: int) -> None:
    assert after(Throttled("slow down", retry_after_s)).delay_ms == delay_ms


def test_a_throttled_attempt_waits_no_shorter_than_one_that_failed() -> None:
    assert after(Throttled("slow down", 1.0), attempt=3, max_attempts=9).delay_ms == 20_000


def test_what_is_done_about_an_unknown_outcome_is_to_resend_unless_the_client_says_fail() -> None:
    said = {"": "resend", "resend": "resend", "fail": "fail", "FAIL": "resend"}
    requests = {value: a_request(on_unknown=value) for value in said}
    assert {value: unknown_action(a_dispatch(request=one)) for value, one in requests.items()} == said


def test_an_attempt_in_place_of_one_that_was_given_up_keeps_its_dedup_key_and_is_due_now() -> None:
    event = a_dispatch(attempt=3)
    again = types.dispatched(event, attempt=4, now_ms=9, dedup_key=event.dedup_key)
    assert next_attempt(event, 9) == Consequences([again])
