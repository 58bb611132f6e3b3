"""What is missing is made again exactly as it was, from whatever part of a notification's events is stored."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from status_projector.recovery import missing_events
from status_projector.recovery.missing_events import Order
from status_projector.store import event_document
from wavecom_common.delivery.policy import consequences
from wavecom_common.events import routing, types
from wavecom_common.events.outcomes import Delivered, DeliveryOutcome, TransientFailure, UnknownOutcome
from wavecom_common.testing.builders import NOW_MS, a_request
from wavecom_proto.v1.events_pb2 import Event

DAY_MS = 24 * 3600 * 1000
DELAYS_MS = [5_000, 10_000, 20_000]


def as_stored(event: Event) -> Event:
    return event_document.from_document(event_document.to_document(event, NOW_MS))


def story(outcomes: Sequence[DeliveryOutcome], **request: str) -> tuple[list[Event], list[Event]]:
    """The events of a notification whose attempts ended so, and the orders among them."""
    told = [a_request(max_attempts=9, **request)]  # type: ignore[arg-type]
    work = types.dispatched(told[0], attempt=1, now_ms=NOW_MS + 1)
    orders = []
    for outcome in outcomes:
        orders.append(work)
        told += [work, types.started(work, provider="simulated", now_ms=work.occurred_at_ms + 1)]
        at_ms = work.occurred_at_ms + 100
        follows = consequences(work, outcome, provider="simulated", at_ms=at_ms, retry_delays_ms=DELAYS_MS)
        told += follows.now
        if not follows.later:
            break
        [work] = follows.later
    else:
        orders.append(work)
    return told, orders


a_failure = st.sampled_from([TransientFailure("busy"), UnknownOutcome("no answer")])


@given(st.lists(a_failure, max_size=4), st.integers(0, 20))
def test_from_any_beginning_of_a_story_the_next_order_is_made_as_it_was(
    failures: list[DeliveryOutcome], length: int
) -> None:
    told, orders = story(failures)
    stored = [as_stored(event) for event in told[: length + 1]]

    order = missing_events.missing(stored, NOW_MS)

    assert order is not None
    attempt = max(event.attempt for event in stored)
    if attempt == 0:
        assert order == Order(missing_events.REQUEST, told[0], routing.DISPATCHER_QUEUE, NOW_MS)
        return
    retries = any(event.type == types.RETRY_SCHEDULED and event.attempt == attempt for event in stored)
    assert order.kind == (missing_events.RETRY if retries else missing_events.ATTEMPT)
    assert order.work == orders[attempt] if retries else orders[attempt - 1]
    assert order.queue == "email-sender.medium"
    assert not order.told


@given(st.lists(a_failure, min_size=1, max_size=4), st.data())
def test_an_order_that_was_not_stored_itself_keeps_its_dedup_key(
    failures: list[DeliveryOutcome], data: st.DataObject
) -> None:
    told, orders = story(failures)
    attempt = data.draw(st.integers(1, len(failures)))
    until = next(place for place, event in enumerate(told) if (event.type, event.attempt) == (types.STARTED, attempt))
    stored = [as_stored(event) for event in told[: until + 1]]
    unseen = data.draw(st.sampled_from([{types.DISPATCHED}, {types.DISPATCHED, types.STARTED}]))
    stored = [event for event in stored if event.type not in unseen or event.attempt != attempt]

    order = missing_events.missing(stored, NOW_MS)

    assert order is not None
    if attempt > 1 or types.STARTED not in unseen:
        assert order.work is not None
        assert order.work.dedup_key == orders[attempt - 1].dedup_key
        assert order.work.event_id == orders[attempt - 1].event_id


def test_a_notification_with_an_end_waits_for_nothing() -> None:
    told, _ = story([TransientFailure("busy"), Delivered("p-1")])

    assert missing_events.missing(told, NOW_MS) is None
    assert not missing_events.is_lost(told)


def test_without_its_request_a_notification_is_lost_and_can_be_given_up() -> None:
    told, _ = story([])
    attempt = types.dispatched(told[0], attempt=1, now_ms=NOW_MS)

    assert missing_events.missing([attempt], NOW_MS) is None
    assert missing_events.is_lost([attempt])
    end = missing_events.given_up([attempt], NOW_MS)
    assert (end.type, end.failed.reason) == (types.FAILED, types.LOST)


def test_a_retry_is_not_due_before_its_wait_is_over() -> None:
    told, orders = story([TransientFailure("busy")])

    order = missing_events.missing(told, NOW_MS)

    assert order is not None
    assert order.due_at_ms == orders[1].occurred_at_ms == told[-1].occurred_at_ms + 5_000


@pytest.mark.parametrize("stored", [1, 2, 3, 4], ids=["requested", "dispatched", "started", "retrying"])
def test_what_the_ledger_may_have_forgotten_is_told_as_unknown_before_it_is_repeated(stored: int) -> None:
    told, orders = story([TransientFailure("busy")])

    order = missing_events.missing(told[:stored], NOW_MS + 14 * DAY_MS)

    assert order is not None
    assert order.kind == missing_events.FORGOTTEN
    assert order.work is not None
    assert order.work.event_id == orders[1 if stored == 4 else 0].event_id
    assert [(event.type, event.attempt) for event in order.told] == [(types.OUTCOME_UNKNOWN, order.work.attempt)]


def test_what_the_ledger_may_have_forgotten_is_ended_where_the_client_wants_no_second_call() -> None:
    told, _ = story([TransientFailure("busy")], on_unknown="fail")

    order = missing_events.missing(told[:3], NOW_MS + 14 * DAY_MS)

    assert order is not None
    assert order.work is None
    assert [event.type for event in order.told] == [types.OUTCOME_UNKNOWN, types.FAILED]


def test_an_event_type_from_the_future_changes_nothing() -> None:
    told, _ = story([])
    future = Event(event_id="x", type="NotificationOpened", notification_id=told[0].notification_id, attempt=7)

    assert missing_events.missing([*told, future], NOW_MS) == missing_events.missing(told, NOW_MS)


def test_the_ledger_is_trusted_for_a_day_less_than_it_keeps() -> None:
    told = story([TransientFailure("busy")])[0][:2]
    last_ms = max(event.occurred_at_ms for event in told)
    kinds = [
        order.kind
        for since_ms in (0, 1)
        if (order := missing_events.missing(told, last_ms + missing_events.FORGOTTEN_AFTER_MS + since_ms)) is not None
    ]
    assert kinds == [missing_events.ATTEMPT, missing_events.FORGOTTEN]


def test_what_is_given_up_or_forgotten_says_so_as_of_now() -> None:
    told, _ = story([TransientFailure("busy")], on_unknown="fail")
    first, second = (types.dispatched(told[0], attempt=attempt, now_ms=NOW_MS) for attempt in (1, 2))
    end = missing_events.given_up([second, first], NOW_MS + 5)
    error = "the request was lost with the broker's data before it was stored"
    assert end == types.failed(second, error=error, reason=types.LOST, now_ms=NOW_MS + 5)

    now_ms = NOW_MS + 14 * DAY_MS
    order = missing_events.missing(told[:3], now_ms)
    assert order is not None
    assert order.told == [
        types.outcome_unknown(told[1], action="fail", now_ms=now_ms),
        types.failed(told[1], error=missing_events.FORGOTTEN_ERROR, reason=types.UNKNOWN, now_ms=now_ms),
    ]


def test_what_is_forgotten_and_resent_goes_to_its_queue_at_its_time() -> None:
    told, orders = story([TransientFailure("busy")])
    order = missing_events.missing(told[:2], NOW_MS + 14 * DAY_MS)
    assert order is not None
    assert (order.kind, order.work, order.queue) == (missing_events.FORGOTTEN, orders[0], "email-sender.medium")
    assert order.due_at_ms == orders[0].occurred_at_ms


@pytest.mark.parametrize("end", [types.SENT, types.FAILED])
def test_a_notification_with_an_end_is_not_lost(end: str) -> None:
    event = types.dispatched(a_request(), attempt=1, now_ms=NOW_MS)
    event.type = end
    assert not missing_events.is_lost([event])
