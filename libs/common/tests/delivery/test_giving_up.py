"""The end of an attempt whose message was tried too often: the ledger decides it, to the last field."""

import asyncio

import pytest
from prometheus_client import REGISTRY
from wavecom_common.delivery.ledger import Claim
from wavecom_common.events import types
from wavecom_common.events.outcomes import Delivered, GivenUp
from wavecom_common.kernel.errors import Unstorable
from wavecom_common.messaging.outcome import ACK, DeadLetter, Retry
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

from .twins import AT_MS, NOW_MS, OWNER, Answering, Bench, incoming

LEASE_OVER, LEASE_RUNS = Claim("other", NOW_MS - 1), Claim("other", NOW_MS + 1)
DEAD = DeadLetter("too often", fails=False)


def key(event: Event) -> str:
    return f"{event.notification_id}:{event.attempt}"


def failed(event: Event) -> Event:
    return types.failed(event, error="dead-lettered: too often", reason=types.PERMANENT, now_ms=AT_MS)


def counted(metric: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(metric, labels) or 0


async def test_an_attempt_that_none_made_fails_and_is_counted() -> None:
    event = a_dispatch(request=a_request(channel="push", priority="low"))
    bench = Bench(Answering())
    labels = {"channel": "push", "priority": "low", "reason": types.PERMANENT}
    before = counted("wavecom_notifications_failed_total", **labels)
    assert await bench.loop.give_up(event, "too often") == DEAD
    assert bench.publisher.now == [failed(event)]
    claim = bench.ledger.claims[key(event)]
    assert (claim.outcome, claim.ended_at_ms) == (GivenUp("dead-lettered: too often"), AT_MS)
    assert bench.ledger.held == set()
    assert counted("wavecom_notifications_failed_total", **labels) - before == 1


async def test_a_claim_of_its_own_is_given_up_without_a_word_of_a_call() -> None:
    event = a_dispatch()
    bench = Bench(Answering())
    bench.ledger.claims[key(event)] = Claim(OWNER, NOW_MS - 1)
    assert await bench.loop.give_up(event, "too often") == DEAD
    assert bench.publisher.now == [failed(event)]


async def test_an_attempt_whose_sender_died_is_reported_as_unknown_and_then_fails() -> None:
    event = a_dispatch(request=a_request(channel="push", priority="medium", on_unknown="fail"))
    bench = Bench(Answering())
    bench.ledger.claims[key(event)] = LEASE_OVER
    before = counted("wavecom_deliveries_outcome_unknown_total", channel="push", priority="medium")
    assert await bench.loop.give_up(event, "too often") == DEAD
    assert bench.publisher.now == [
        types.started(event, provider="twin", now_ms=AT_MS),
        types.outcome_unknown(event, action="fail", now_ms=AT_MS),
        failed(event),
    ]
    assert counted("wavecom_deliveries_outcome_unknown_total", channel="push", priority="medium") - before == 1


async def test_an_attempt_that_another_sender_takes_over_in_that_moment_is_left_to_it() -> None:
    event = a_dispatch()
    bench = Bench(Answering())
    bench.ledger.claims[key(event)] = LEASE_OVER
    bench.ledger.outrun = True
    assert isinstance(await bench.loop.give_up(event, "too often"), Retry)
    assert (bench.publisher.now, bench.ledger.claims) == ([], {key(event): LEASE_OVER})


async def test_an_attempt_that_another_sender_holds_is_left_to_it() -> None:
    event = a_dispatch()
    bench = Bench(Answering())
    bench.ledger.claims[key(event)] = LEASE_RUNS
    assert isinstance(await bench.loop.give_up(event, "too often"), Retry)
    assert (bench.publisher.now, bench.ledger.claims) == ([], {key(event): LEASE_RUNS})


async def test_a_stored_outcome_is_published_as_of_then() -> None:
    event = a_dispatch()
    bench = Bench(Answering())
    bench.ledger.claims[key(event)] = Claim("other", NOW_MS + 1, Delivered("x"), 77)
    assert await bench.loop.give_up(event, "too often") == ACK
    assert bench.publisher.now == [
        types.started(event, provider="twin", now_ms=77),
        types.sent(event, provider="twin", provider_message_id="x", now_ms=77),
    ]


async def test_an_attempt_in_flight_is_waited_for_and_not_stopped_with_who_waits() -> None:
    adapter, event = Answering(), a_dispatch()
    adapter.gate.clear()
    bench = Bench(adapter)
    handled = bench.begin(incoming(event))
    await eventually(lambda: adapter.calls)
    waits, leaves = (asyncio.ensure_future(bench.loop.give_up(event, "too often")) for _ in range(2))
    await asyncio.wait([waits, leaves], timeout=0.02)
    assert not waits.done()
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    adapter.gate.set()
    assert await handled == [ACK]
    assert await waits == ACK
    assert adapter.calls == [event.dedup_key]
    assert bench.ledger.claims[key(event)].outcome == Delivered("x")


async def test_an_outcome_that_is_known_and_not_stored_yet_counts() -> None:
    adapter, event = Answering(), a_dispatch()
    bench = Bench(adapter)
    bench.ledger.refused.add(key(event))
    with pytest.raises(Unstorable):
        await bench.loop.handle(incoming(event))
    bench.ledger.refused.clear()
    bench.publisher.now.clear()
    assert await bench.loop.give_up(event, "too often") == DEAD
    assert bench.publisher.now == [types.sent(event, provider="twin", provider_message_id="x", now_ms=AT_MS)]
    assert bench.ledger.claims[key(event)].outcome == Delivered("x")
    # From then on the ledger knows it, and no one else.
    bench.ledger.claims.clear()
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert adapter.calls == [event.dedup_key] * 2


async def test_what_is_no_attempt_is_dead_lettered_and_nothing_is_claimed() -> None:
    bench, event = Bench(Answering()), a_dispatch()
    event.type = "SomethingNew"
    assert await bench.loop.give_up(event, "too often") == DeadLetter("too often")
    assert (bench.ledger.claims, bench.publisher.now) == ({}, [])
