"""When requests are refused because too much is waiting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest_api.backlog import Backlog, BatchSizes, Level, State, Thresholds, messages_waiting, next_state
from ingest_api.errors import Refusal
from ingest_api.routes import NOTIFICATIONS
from wavecom_common.events.routing import DISPATCHER_QUEUE, PROJECTOR_QUEUE, sender_queue

THRESHOLDS = Thresholds(5_000, 20_000, 50_000)
LOW, MEDIUM, HIGH = {"low"}, {"low", "medium"}, {"low", "medium", "high"}


@pytest.mark.parametrize(
    ("waiting", "level", "refused"),
    [
        (0, Level.NORMAL, set()),
        (4_999, Level.NORMAL, set()),
        (5_000, Level.WARNING, set()),
        (20_000, Level.CRITICAL, set()),
        (49_999, Level.CRITICAL, set()),
        (50_000, Level.EMERGENCY, LOW),
        (74_999, Level.EMERGENCY, LOW),
        (75_000, Level.EMERGENCY, MEDIUM),
        (99_999, Level.EMERGENCY, MEDIUM),
        (100_000, Level.EMERGENCY, HIGH),
    ],
)
def test_the_more_waits_the_more_is_refused_low_first(waiting, level, refused):
    assert next_state(waiting, THRESHOLDS, State()) == State(level, frozenset(refused))


@pytest.mark.parametrize(
    ("waiting", "level", "refused"),
    [
        (80_000, Level.EMERGENCY, HIGH),
        (79_999, Level.EMERGENCY, MEDIUM),
        (60_000, Level.EMERGENCY, MEDIUM),
        (59_999, Level.EMERGENCY, LOW),
        (40_000, Level.EMERGENCY, LOW),
        (39_999, Level.CRITICAL, set()),
        (15_999, Level.WARNING, set()),
        (3_999, Level.NORMAL, set()),
    ],
)
def test_a_priority_is_taken_again_only_well_below_where_its_refusal_began(waiting, level, refused):
    before = State(Level.EMERGENCY, frozenset(HIGH))

    assert next_state(waiting, THRESHOLDS, before) == State(level, frozenset(refused))


@given(st.lists(st.integers(0, 150_000), min_size=1, max_size=20))
def test_whatever_went_before_a_higher_priority_is_never_refused_alone(depths):
    state = State()
    for waiting in depths:
        state = next_state(waiting, THRESHOLDS, state)
        assert state.refused in (set(), LOW, MEDIUM, HIGH)
        assert next_state(waiting, THRESHOLDS, state) == state


def test_before_a_notification_are_those_of_its_channel_and_those_not_dispatched_yet():
    counts = {DISPATCHER_QUEUE: 3, sender_queue("sms", "low"): 4, sender_queue("sms", "high"): 1, PROJECTOR_QUEUE: 8}
    assert messages_waiting(counts, "sms") == 8
    assert messages_waiting(counts, "email") == 3
    assert messages_waiting({DISPATCHER_QUEUE: 3, PROJECTOR_QUEUE: 80}, "email") == 20
    assert messages_waiting({}, "push") == 0


def test_the_size_of_a_message_is_that_of_those_that_wait():
    sizes = BatchSizes()
    assert sizes.mean(1_000) == 1
    # 700 messages of 100 events; then the clients calm down.
    sizes.note(700, 70_000)
    assert sizes.mean(700) == 100
    sizes.note(800, 70_100)
    assert sizes.mean(100) == 1
    assert sizes.mean(800) == pytest.approx(70_100 / 800)
    assert sizes.mean(5_000) == pytest.approx(70_100 / 800)


def test_what_waits_is_counted_in_notifications():
    published = [(0, 0)]
    backlog = Backlog(THRESHOLDS, lambda: published[0])
    published[0] = (600, 60_000)
    backlog.look({DISPATCHER_QUEUE: 499})
    backlog.check({("sms", priority) for priority in HIGH})
    backlog.look({DISPATCHER_QUEUE: 500})
    backlog.check({("sms", "medium"), ("sms", "high")})
    with pytest.raises(Refusal) as refused:
        backlog.check({("sms", "high"), ("sms", "low")})

    assert (refused.value.status_code, refused.value.retry_after_s, refused.value.reason) == (503, 5, "backlog")
    assert "too many sms" in refused.value.message.lower()
    assert "low priority" in refused.value.message


def test_a_channel_that_stands_still_keeps_nobody_from_the_others():
    backlog = Backlog(THRESHOLDS, lambda: (0, 0))
    backlog.look({sender_queue("sms", "medium"): 1_000_000})
    backlog.check({(channel, priority) for channel in ("email", "push") for priority in HIGH})
    with pytest.raises(Refusal):
        backlog.check({("email", "low"), ("sms", "high")})

    # Nor does a channel's relief help what all of them share.
    backlog.look({PROJECTOR_QUEUE: 1_000_000})
    for channel in ("email", "sms", "push"):
        with pytest.raises(Refusal):
            backlog.check({(channel, "high")})


async def test_what_is_refused_is_answered_with_503_and_when_to_come_back(client, backlog, pipeline):
    body = {"recipient": "+2348012345678", "message": "Hello", "channel": "sms"}
    backlog.look({DISPATCHER_QUEUE: 75_000})
    medium = await client.post(NOTIFICATIONS, json=body)
    high = await client.post(NOTIFICATIONS, json=body | {"priority": "high"})
    backlog.look({})
    again = await client.post(NOTIFICATIONS, json=body)

    assert (medium.status_code, high.status_code, again.status_code) == (503, 201, 201)
    assert medium.headers["retry-after"] == "5"
    assert medium.json() == {
        "status": "error",
        "message": "Too many sms notifications are waiting to take more of medium priority; try again later",
    }
    assert len(pipeline.events) == 2


async def test_a_request_answered_before_is_answered_again_whatever_waits(client, backlog):
    body = {"recipient": "+2348012345678", "message": "Hello", "channel": "sms"}
    first = await client.post(NOTIFICATIONS, json=body, headers={"Idempotency-Key": "key-1"})
    backlog.look({DISPATCHER_QUEUE: 1_000_000})
    again = await client.post(NOTIFICATIONS, json=body, headers={"Idempotency-Key": "key-1"})
    other = await client.post(NOTIFICATIONS, json=body, headers={"Idempotency-Key": "key-2"})

    assert (again.status_code, again.content) == (201, first.content)
    assert other.status_code == 503
