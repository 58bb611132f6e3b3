"""The fold gives one state, whatever order, repetition and batching the events come in."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st
from status_projector.model import projection
from status_projector.model.facts import Facts, LastAttempt
from status_projector.query.mappers import notification
from wavecom_common.events import types
from wavecom_common.kernel.errors import Unstorable
from wavecom_common.testing.histories import deliveries, histories
from wavecom_proto.v1.events_pb2 import Content, Event
from wavecom_proto.v1.status_pb2 import Notification

NID = "650000000000000000000001"


@given(st.data(), histories())
def test_every_order_repetition_and_batching_gives_the_same_state(data: st.DataObject, history: list[Event]) -> None:
    expected = projection.fold(history)

    batches = data.draw(deliveries(history))

    told_one_by_one = projection.fold(event for batch in batches for event in batch)
    folded = [state for batch in batches for state in projection.fold(batch).values()]
    assert told_one_by_one == expected
    assert {history[0].notification_id: reduce(projection.join, folded)} == expected


@given(st.data(), histories())
def test_a_terminal_state_is_never_left(data: st.DataObject, history: list[Event]) -> None:
    state: Facts | None = None
    seen: list[str] = []
    for event in data.draw(st.permutations(history)):
        state = projection.apply(state, event)
        assert state is not None
        seen.append(state.head.status)

    if "sent" in seen:
        assert set(seen[seen.index("sent") :]) == {"sent"}
    if "failed" in seen:
        assert set(seen[seen.index("failed") :]) <= {"failed", "sent"}


def test_a_notification_that_is_sent_after_a_retry_tells_its_story() -> None:
    request = _requested(now_ms=1_000)
    first, second = (types.dispatched(request, attempt=n, now_ms=n * 2_000) for n in (1, 2))
    views = _views(
        request,
        first,
        types.started(first, provider="simulated", now_ms=2_100),
        types.retry_scheduled(first, error="provider said 503", delay_ms=5_000, now_ms=2_200),
        second,
        types.started(second, provider="simulated", now_ms=7_300),
        types.outcome_unknown(second, action="resend", now_ms=7_350),
        types.sent(second, provider="simulated", provider_message_id="p-1", now_ms=7_400),
    )

    assert [view.status for view in views] == [
        "queued",
        "queued",
        "processing",
        "queued",
        "queued",
        "processing",
        "processing",
        "sent",
    ]
    assert [view.error for view in views][3:] == ["provider said 503"] * 4 + [""]
    assert views[-1] == Notification(
        id=NID,
        tenant="default",
        recipient="user@example.com",
        message="hello",
        channel="email",
        subject="greeting",
        status="sent",
        attempts=2,
        max_attempts=3,
        last_attempt_at_ms=7_300,
        sent_at_ms=7_400,
        metadata_json='{"orderId":"12345"}',
        created_at_ms=1_000,
        updated_at_ms=7_400,
        priority="high",
    )


def test_a_failed_notification_shows_when_and_why() -> None:
    request = _requested(now_ms=1_000)
    attempt = types.dispatched(request, attempt=1, now_ms=1_100)
    failed = types.failed(attempt, error="no such address", reason=types.PERMANENT, now_ms=1_300)

    view = _views(request, attempt, types.started(attempt, provider="smtp", now_ms=1_200), failed)[-1]

    assert (view.status, view.failed_at_ms, view.error) == ("failed", 1_300, "no such address")
    assert not view.HasField("sent_at_ms")


def test_a_send_that_happened_beats_a_failure_whichever_is_told_first() -> None:
    request = _requested(now_ms=1_000)
    attempt = types.dispatched(request, attempt=1, now_ms=1_100)
    sent = types.sent(attempt, provider="smtp", provider_message_id="", now_ms=1_300)
    failed = types.failed(attempt, error="no such address", reason=types.PERMANENT, now_ms=1_400)

    for order in ([sent, failed], [failed, sent]):
        view = _views(request, *order)[-1]
        assert view.status == "sent"
        assert not view.HasField("failed_at_ms")
        assert not view.HasField("error")


def test_an_attempt_is_counted_before_its_start_was_told() -> None:
    request = _requested(now_ms=1_000)
    attempt = types.dispatched(request, attempt=1, now_ms=1_100)
    started = types.started(attempt, provider="smtp", now_ms=1_200)
    sent = types.sent(attempt, provider="smtp", provider_message_id="", now_ms=1_300)

    early, late = _views(request, sent, started)[1:]

    assert (early.attempts, early.last_attempt_at_ms) == (1, 1_300)
    assert (late.attempts, late.last_attempt_at_ms) == (1, 1_200)


def test_a_notification_that_failed_without_an_attempt_has_none() -> None:
    request = _requested(now_ms=1_000)
    attempt = types.dispatched(request, attempt=1, now_ms=1_100)
    failed = types.failed(attempt, error="nobody reads it", reason=types.DEAD_LETTER, now_ms=1_300)

    view = _views(request, failed)[-1]

    assert view.attempts == 0
    assert not view.HasField("last_attempt_at_ms")


@pytest.mark.parametrize("reason", [types.UNROUTABLE, types.DEAD_LETTER, types.LOST, types.REFUSED])
def test_a_failure_that_needed_no_attempt_is_none(reason: str) -> None:
    attempt = types.dispatched(_requested(now_ms=1_000), attempt=1, now_ms=1_100)
    told = projection.facts(types.failed(attempt, error="why", reason=reason, now_ms=1_300))

    assert told is not None
    assert told.last_attempt is None
    assert told.failed_at_ms == 1_300


@pytest.mark.parametrize("reason", [types.PERMANENT, types.EXHAUSTED, types.UNKNOWN])
def test_a_failure_after_a_call_is_an_attempt(reason: str) -> None:
    attempt = types.dispatched(_requested(now_ms=1_000), attempt=2, now_ms=1_100)
    told = projection.facts(types.failed(attempt, error="why", reason=reason, now_ms=1_300))

    assert told is not None
    assert told.last_attempt == LastAttempt(2, 0, 1_300)


def test_what_an_attempt_s_events_tell_counts_in_this_order_whatever_their_times() -> None:
    attempt = types.dispatched(_requested(now_ms=9), attempt=1, now_ms=8)
    rising = [
        attempt,
        types.started(attempt, provider="p", now_ms=7),
        types.outcome_unknown(attempt, action="resend", now_ms=6),
        types.retry_scheduled(attempt, error="busy", delay_ms=5, now_ms=5),
        types.failed(attempt, error="no", reason=types.PERMANENT, now_ms=4),
        types.sent(attempt, provider="p", provider_message_id="", now_ms=3),
    ]
    heads = [told.head for event in rising if (told := projection.facts(event)) is not None]
    assert [(head.final, head.rank) for head in heads] == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (2, 5)]
    assert heads == sorted(heads)
    # A later attempt goes before every event of an earlier one that ended nothing.
    again = projection.facts(types.dispatched(_requested(now_ms=9), attempt=2, now_ms=1))
    assert again is not None
    assert again.head > heads[3]
    assert again.head < heads[4]


def test_a_retry_is_due_after_its_delay_and_all_else_when_it_happened() -> None:
    attempt = types.dispatched(_requested(now_ms=1), attempt=1, now_ms=2)
    retry = types.retry_scheduled(attempt, error="busy", delay_ms=500, now_ms=30)

    due = [told.due_at_ms for event in (attempt, retry) if (told := projection.facts(event)) is not None]
    assert due == [2, 530]
    joined = projection.fold([retry, attempt])[NID]
    assert (joined.due_at_ms, joined.updated_at_ms) == (530, 30)


def test_an_event_type_from_the_future_changes_nothing() -> None:
    request = _requested(now_ms=1_000)
    future = Event(event_id=f"{NID}:1:NotificationOpened", type="NotificationOpened", notification_id=NID, attempt=1)

    assert projection.facts(future) is None
    assert projection.fold([future, request, future]) == projection.fold([request])


@pytest.mark.parametrize("metadata", ["[1]", "{", "7"])
def test_metadata_that_is_not_an_object_is_refused(metadata: str) -> None:
    with pytest.raises(Unstorable):
        projection.facts(_requested(now_ms=1, metadata_json=metadata))


def _requested(*, now_ms: int, metadata_json: str = '{"orderId":"12345"}') -> Event:
    content = Content(
        recipient="user@example.com",
        message="hello",
        subject="greeting",
        metadata_json=metadata_json,
        max_attempts=3,
    )
    return types.requested(
        notification_id=NID, tenant="default", channel="email", priority="high", content=content, now_ms=now_ms
    )


def _views(*events: Event) -> list[Notification]:
    """What a client sees after each of the events."""
    states = [projection.fold(events[: count + 1])[NID] for count in range(len(events))]
    return [notification(NID, state) for state in states]
