"""The delivery loop among twins: slots, claims, unknown outcomes and ends, in milliseconds."""

import asyncio

import pytest
from prometheus_client import REGISTRY
from wavecom_common.delivery.ledger import Claim
from wavecom_common.events import types
from wavecom_common.events.outcomes import Delivered, GivenUp, PermanentFailure, TransientFailure
from wavecom_common.kernel.errors import Draining, Unavailable, Unstorable
from wavecom_common.messaging.incoming import Link
from wavecom_common.messaging.outcome import ACK, DeadLetter, Retry
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

from .twins import NOW_MS, OWNER, Answering, Bench, incoming

LEASE_OVER, LEASE_RUNS = Claim("other", NOW_MS - 1), Claim("other", NOW_MS + 1)


def key(event: Event) -> str:
    return f"{event.notification_id}:{event.attempt}"


async def test_an_attempt_is_called_once_and_its_start_and_its_end_are_published() -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter)
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert adapter.calls == [event.dedup_key]
    assert bench.publisher.types() == [types.STARTED, types.SENT]
    assert bench.ledger.held == set()


async def test_no_slot_is_lost_when_an_event_comes_again_while_it_is_in_flight() -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter, max_in_flight=2)
    adapter.gate.clear()
    twice = [bench.begin(incoming(event)) for _ in range(2)]
    await eventually(lambda: adapter.calls == [event.dedup_key])
    adapter.gate.set()
    assert await asyncio.gather(*twice) == [[ACK], [ACK]]
    await no_slot_is_lost(bench, adapter)


async def test_no_slot_is_lost_when_the_link_is_lost_in_the_moment_of_a_turn() -> None:
    adapter, link = Answering(), Link()
    bench = Bench(adapter, max_in_flight=2)
    link.lose()
    with pytest.raises(Draining):
        await bench.loop.handle(incoming(a_dispatch(), link=link))
    assert adapter.calls == []
    assert bench.ledger.claims == {}
    await no_slot_is_lost(bench, adapter)


async def no_slot_is_lost(bench: Bench, adapter: Answering) -> None:
    """As many calls as ever run at once."""
    adapter.calls.clear()
    adapter.gate.clear()
    handled = bench.begin(incoming(*[a_dispatch() for _ in range(bench.max_in_flight)]))
    await eventually(lambda: len(adapter.calls) == bench.max_in_flight, timeout_s=5)
    adapter.gate.set()
    await handled


@pytest.mark.parametrize("error", [RuntimeError("a bug"), asyncio.CancelledError(), TimeoutError()])
async def test_a_call_that_ends_with_no_answer_has_an_unknown_outcome(error: BaseException) -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter)
    adapter.error = error
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert bench.publisher.types() == sorted([types.STARTED, types.OUTCOME_UNKNOWN, types.RETRY_SCHEDULED])
    [again] = bench.publisher.later
    assert (again.attempt, again.dedup_key) == (2, event.dedup_key)


async def test_what_was_given_up_is_made_again_only_when_an_operator_wants_it() -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter)
    bench.ledger.claims[key(event)] = Claim(OWNER, 0, GivenUp("poison"), 5)
    assert await bench.loop.handle(incoming(event)) == [DeadLetter("poison", fails=False)]
    assert bench.publisher.types() == [types.FAILED]
    assert await bench.loop.handle(incoming(event, replayed=True)) == [ACK]
    assert bench.publisher.now[-1].attempt == 2
    assert adapter.calls == []


async def test_an_outcome_that_is_stored_is_published_again_with_its_start() -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter)
    bench.ledger.claims[key(event)] = Claim("other", 0, Delivered("x"), 5)
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert bench.publisher.types() == [types.STARTED, types.SENT]
    assert adapter.calls == []


async def test_an_attempt_that_another_sender_holds_is_looked_at_again() -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter)
    bench.ledger.claims[key(event)] = LEASE_RUNS
    [outcome] = await bench.loop.handle(incoming(event))
    assert isinstance(outcome, Retry)
    assert isinstance(await bench.loop.give_up(event, "too often"), Retry)
    assert (adapter.calls, bench.publisher.now) == ([], [])


async def test_giving_up_publishes_an_outcome_that_is_known() -> None:
    event = a_dispatch()
    bench = Bench(Answering())
    bench.ledger.claims[key(event)] = Claim("other", 0, Delivered("x"), 5)
    assert await bench.loop.give_up(event, "too often") == ACK
    assert types.SENT in bench.publisher.types()


async def test_giving_up_says_that_a_call_may_have_taken_effect_and_holds_nothing_when_that_fails() -> None:
    event = a_dispatch()
    bench = Bench(Answering())
    bench.ledger.claims[key(event)] = LEASE_OVER
    bench.publisher.errors.append(Unavailable("the broker is away"))
    with pytest.raises(Unavailable):
        await bench.loop.give_up(event, "too often")
    assert bench.ledger.held == set()
    assert await bench.loop.give_up(event, "too often") == DeadLetter("too often", fails=False)
    assert bench.publisher.types() == sorted([types.STARTED, types.OUTCOME_UNKNOWN, types.FAILED])


async def test_a_take_over_whose_report_failed_is_held_no_more() -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter)
    bench.ledger.claims[key(event)] = LEASE_OVER
    bench.publisher.errors.append(Unavailable("the broker is away"))
    with pytest.raises(Unavailable):
        await bench.loop.handle(incoming(event))
    assert (adapter.calls, bench.ledger.held) == ([], set())
    # It has the claim, and goes on when its message comes again.
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert adapter.calls == [event.dedup_key]
    assert bench.publisher.types() == sorted([types.STARTED, types.OUTCOME_UNKNOWN, types.SENT])


async def test_an_outcome_that_cannot_be_stored_does_not_keep_the_others() -> None:
    adapter, good, bad = Answering(), a_dispatch(), a_dispatch()
    bench = Bench(adapter)
    bench.ledger.refused.add(key(bad))
    with pytest.raises(Unstorable):
        await bench.loop.handle(incoming(good, bad))
    await eventually(lambda: types.SENT in bench.publisher.types())
    assert {event.notification_id for event in bench.publisher.now if event.type == types.SENT} == {
        good.notification_id
    }
    # The outcome is known: when it can be stored, it is published, and nothing is called again.
    bench.ledger.refused.clear()
    assert await bench.loop.handle(incoming(bad)) == [ACK]
    assert sorted(adapter.calls) == sorted([good.dedup_key, bad.dedup_key])


async def test_a_start_that_was_not_published_keeps_the_message() -> None:
    event = a_dispatch()
    bench = Bench(Answering())
    message = incoming(event)
    # It is tried again as long as the process does not stop.
    message.draining.set()
    bench.publisher.errors.append(Unavailable("the broker is away"))
    with pytest.raises(Draining):
        await bench.loop.handle(message)
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert bench.publisher.types() == sorted([types.SENT, types.STARTED, types.SENT])


@pytest.mark.parametrize(
    ("outcome", "metric", "labels"),
    [
        (Delivered("x"), "wavecom_notifications_sent_total", {}),
        (PermanentFailure("no"), "wavecom_notifications_failed_total", {"reason": types.PERMANENT}),
        (TransientFailure("busy"), "wavecom_notifications_retried_total", {}),
    ],
)
async def test_ends_and_retries_are_counted_once(outcome: object, metric: str, labels: dict[str, str]) -> None:
    adapter, event = Answering(), a_dispatch(request=a_request(channel="push", priority="low"))
    adapter.outcome = outcome  # type: ignore[assignment]
    bench = Bench(adapter)
    every = {"channel": "push", "priority": "low"} | labels
    before = REGISTRY.get_sample_value(metric, every) or 0
    for _ in range(2):
        assert await bench.loop.handle(incoming(event)) == [ACK]
    assert (REGISTRY.get_sample_value(metric, every) or 0) - before == 1


async def test_an_unknown_type_is_dead_lettered_without_a_claim() -> None:
    bench, event = Bench(Answering()), a_dispatch()
    event.type = "SomethingNew"
    [outcome] = await bench.loop.handle(incoming(event))
    assert isinstance(outcome, DeadLetter)
    assert bench.ledger.claims == {}
