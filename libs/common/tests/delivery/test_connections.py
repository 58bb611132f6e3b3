"""Waiting for a connection among twins: nothing is claimed or spent, and no more are begun than can be carried."""

import asyncio

import pytest
import structlog
from prometheus_client import REGISTRY
from wavecom_common.delivery import connections, turns
from wavecom_common.delivery.port import NotReady
from wavecom_common.events import types
from wavecom_common.events.outcomes import TransientFailure
from wavecom_common.kernel.errors import Draining, Unavailable
from wavecom_common.messaging.incoming import Link
from wavecom_common.messaging.outcome import ACK
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually

from .twins import Bench, Connecting, incoming

AWAY = NotReady("refused")


async def test_no_more_are_claimed_and_called_than_there_are_connections() -> None:
    adapter = Connecting(3)
    bench = Bench(adapter)
    adapter.gate.clear()
    handled = bench.begin(incoming(*[a_dispatch() for _ in range(10)]))
    await eventually(lambda: len(adapter.calls) == 3)
    assert len(bench.ledger.claims) == 3
    adapter.gate.set()
    assert await handled == [ACK] * 10
    assert (adapter.most, adapter.lent) == (3, 0)


async def test_a_connection_is_given_back_before_the_outcome_is_stored() -> None:
    adapter = Connecting(1)
    bench = Bench(adapter)
    storing = asyncio.Event()
    settle_all = bench.ledger.settle_all

    async def slow(settled: object) -> object:
        await storing.wait()
        return await settle_all(settled)  # type: ignore[arg-type]

    bench.ledger.settle_all = slow  # type: ignore[assignment, method-assign]
    handled = bench.begin(incoming(a_dispatch(), a_dispatch()))
    await eventually(lambda: len(adapter.calls) == 2)
    storing.set()
    assert await handled == [ACK, ACK]


async def test_while_the_provider_is_away_nothing_is_claimed_and_the_first_connection_is_used() -> None:
    adapter = Connecting(2)
    bench = Bench(adapter)
    adapter.away = AWAY
    with structlog.testing.capture_logs() as logged:
        handled = bench.begin(incoming(*[a_dispatch() for _ in range(5)]))
        await eventually(lambda: adapter.tries >= 5)
        assert (bench.ledger.claims, bench.publisher.now) == ({}, [])
        assert REGISTRY.get_sample_value("wavecom_provider_unavailable", {"provider": "twin"}) == 1
        assert REGISTRY.get_sample_value("wavecom_provider_waiting", {"provider": "twin"}) == 5
        adapter.away = None
        assert await handled == [ACK] * 5
    assert {event.attempt for event in bench.publisher.now} == {1}
    assert [line["event"] for line in logged] == ["provider_unavailable", "provider_unavailable_over"]
    assert REGISTRY.get_sample_value("wavecom_provider_unavailable", {"provider": "twin"}) == 0


async def test_the_most_urgent_gets_the_first_connection_after_an_outage() -> None:
    adapter = Connecting(1)
    bench = Bench(adapter)
    adapter.away = AWAY
    low, high = (a_dispatch(request=a_request(priority=priority)) for priority in ("low", "high"))
    handled = [bench.begin(incoming(event)) for event in (low, high)]
    await eventually(lambda: adapter.tries >= 3)
    adapter.away = None
    await asyncio.gather(*handled)
    assert adapter.calls == [high.dedup_key, low.dedup_key]


async def test_a_lost_link_or_a_stop_ends_the_wait_and_leaves_nothing_behind() -> None:
    adapter, link = Connecting(2), Link()
    bench = Bench(adapter)
    adapter.away = AWAY
    handled = bench.begin(incoming(*[a_dispatch() for _ in range(3)], link=link))
    await eventually(lambda: adapter.tries >= 2)
    link.lose()
    with pytest.raises(Draining):
        await handled
    assert bench.ledger.claims == {}
    adapter.away = None
    assert await bench.loop.handle(incoming(a_dispatch(), a_dispatch(), a_dispatch())) == [ACK] * 3
    assert adapter.lent == 0


async def test_a_message_that_is_handled_alone_is_not_blamed_for_a_provider_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "_ALONE_PATIENCE_S", 0.05)
    adapter = Connecting(2)
    bench = Bench(adapter)
    adapter.away = AWAY
    with pytest.raises(Unavailable, match="the provider is away: refused"):
        await bench.loop.handle(incoming(a_dispatch(), quarantined=True))
    # What is handled beside others goes on waiting.
    beside = bench.begin(incoming(a_dispatch()))
    await asyncio.wait([beside], timeout=0.2)
    assert not beside.done()
    adapter.away = None
    assert await beside == [ACK]
    adapter.calls.clear()
    # And so does one that is handled alone while others are served before it.
    adapter.away = None
    adapter.gate.clear()
    others = bench.begin(incoming(a_dispatch(), a_dispatch()))
    await eventually(lambda: len(adapter.calls) == 2)
    alone = bench.begin(incoming(a_dispatch(), quarantined=True))
    await asyncio.wait([alone], timeout=0.2)
    assert not alone.done()
    adapter.gate.set()
    assert await others == [ACK, ACK]
    assert await alone == [ACK]


async def test_a_call_that_broke_before_it_was_handed_over_is_made_again_and_costs_no_attempt() -> None:
    adapter, event = Connecting(1), a_dispatch()
    bench = Bench(adapter)
    adapter.breaks = 2
    assert await bench.loop.handle(incoming(event)) == [ACK]
    assert adapter.calls == [event.dedup_key]
    assert bench.publisher.types() == [types.STARTED, types.SENT]
    assert adapter.lent == 0


async def test_a_call_that_never_gets_through_is_a_failure_for_now() -> None:
    adapter, event = Connecting(1), a_dispatch()
    bench = Bench(adapter)
    adapter.breaks = 3
    assert await bench.loop.handle(incoming(event)) == [ACK]
    [claim] = bench.ledger.claims.values()
    assert claim.outcome == TransientFailure("the call could not be made: the adapter raised ConnectionResetError")
    assert adapter.lent == 0


async def test_a_call_that_was_handed_over_and_got_no_answer_is_unknown() -> None:
    adapter = Connecting(1)
    bench = Bench(adapter, provider_timeout_s=0.05)
    adapter.gate.clear()
    assert await bench.loop.handle(incoming(a_dispatch())) == [ACK]
    assert types.OUTCOME_UNKNOWN in bench.publisher.types()


async def test_a_stop_while_a_broken_connection_is_replaced_reports_nothing_as_called() -> None:
    adapter = Connecting(1)
    bench = Bench(adapter)
    adapter.breaks = 1
    ready = adapter.ready

    async def once() -> object:
        connection = await ready()
        adapter.away = AWAY
        return connection

    adapter.ready = once  # type: ignore[assignment, method-assign]
    message = incoming(a_dispatch())
    handled = bench.begin(message)
    await eventually(lambda: adapter.tries >= 2)
    message.draining.set()
    with pytest.raises(Draining):
        await handled
    assert types.OUTCOME_UNKNOWN not in bench.publisher.types()
    assert (bench.ledger.held, adapter.lent) == (set(), 0)


async def test_a_provider_that_takes_too_long_to_greet_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "READY_TIMEOUT_S", 0.01)
    adapter = Connecting(1)
    bench = Bench(adapter)
    ready, slow = adapter.ready, asyncio.Event()

    async def stuck() -> object:
        await slow.wait()
        return await ready()

    adapter.ready = stuck  # type: ignore[assignment, method-assign]
    labels = {"provider": "twin", "cause": "timeout"}
    before = REGISTRY.get_sample_value("wavecom_provider_connection_failures_total", labels) or 0
    handled = bench.begin(incoming(a_dispatch()))
    await eventually(
        lambda: (REGISTRY.get_sample_value("wavecom_provider_connection_failures_total", labels) or 0) > before
    )
    slow.set()
    assert await handled == [ACK]


async def test_an_adapter_with_a_bug_in_getting_ready_is_away_and_its_text_stays_out_of_the_log() -> None:
    adapter = Connecting(1)
    bench = Bench(adapter)
    ready, bug = adapter.ready, [ZeroDivisionError("ada@example.com")]

    async def broken() -> object:
        if bug:
            raise bug.pop()
        return await ready()

    adapter.ready = broken  # type: ignore[assignment, method-assign]
    with structlog.testing.capture_logs() as logged:
        assert await bench.loop.handle(incoming(a_dispatch())) == [ACK]
    assert "ada@example.com" not in str(logged)
    assert logged[0]["error"] == "no connection to the provider: broken ZeroDivisionError"
