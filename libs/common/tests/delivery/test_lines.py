"""Connections among twins: no more are opened than are wanted and may be, and none is kept that is not."""

import asyncio

import pytest
from prometheus_client import REGISTRY
from wavecom_common.delivery.connections import Connections, Unconnected
from wavecom_common.delivery.port import NotReady
from wavecom_common.testing.waiting import eventually

from .twins import Answering, Connecting

AWAY = NotReady("refused")


@pytest.fixture
def pauses_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the next pauses are, the last for all beyond."""
    pauses = [60.0]
    monkeypatch.setattr("random.uniform", lambda *_: pauses[0] if len(pauses) == 1 else pauses.pop(0))
    return pauses


async def turns(count: int = 50) -> None:
    """So many turns of the loop."""
    for _ in range(count):
        await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0)


def waiting() -> float | None:
    return REGISTRY.get_sample_value("wavecom_provider_waiting", {"provider": "twin"})


async def test_as_many_lines_are_given_as_are_ready_and_wanted() -> None:
    adapter = Connecting(3)
    lines = Connections(adapter)
    assert len(await lines.acquire("medium", 2)) == 2
    assert (adapter.tries, adapter.lent, waiting()) == (2, 2, 0)
    assert len(await lines.acquire("medium", 5)) == 1
    assert (adapter.tries, adapter.lent, waiting()) == (3, 3, 0)


async def test_one_connection_is_opened_for_one_that_is_wanted() -> None:
    adapter = Connecting(3)
    lines = Connections(adapter)
    [line] = await lines.acquire("medium", 1)
    await turns()
    assert (adapter.tries, adapter.lent) == (1, 1)
    line.release()
    line.release()
    await turns()
    assert (adapter.tries, adapter.lent) == (1, 0)


async def test_no_more_are_lent_than_the_provider_takes_however_they_come_and_go() -> None:
    adapter = Connecting(2)
    lines = Connections(adapter)
    [first] = await lines.acquire("medium", 1)
    [second] = await lines.acquire("medium", 1)
    others = [asyncio.ensure_future(lines.acquire("medium", 1)) for _ in range(2)]
    await turns()
    assert (adapter.tries, waiting()) == (2, 2)
    first.release()
    await turns()
    assert (adapter.tries, adapter.lent, waiting()) == (3, 2, 1)
    second.release()
    for [line] in await asyncio.gather(*others):
        line.release()
    assert (adapter.most, adapter.lent, waiting()) == (2, 0, 0)


async def test_one_try_at_a_time_is_made_while_the_provider_is_away(pauses_s: list[float]) -> None:
    adapter = Connecting(3)
    lines = Connections(adapter)
    pauses_s[:] = [0.001]
    adapter.away = AWAY
    wanted = [asyncio.ensure_future(lines.acquire("medium", 1)) for _ in range(3)]
    await eventually(lambda: adapter.tries >= 4)
    assert lines.unavailable == "refused"
    adapter.most_opening, before = 0, adapter.tries
    await eventually(lambda: adapter.tries >= before + 5)
    assert adapter.most_opening == 1
    # Back again, those that wait get theirs, although none is released.
    adapter.away = None
    async with asyncio.timeout(5):
        await asyncio.gather(*wanted)
    assert (adapter.lent, lines.unavailable) == (3, None)


async def test_there_is_a_pause_between_the_tries(pauses_s: list[float]) -> None:
    adapter = Connecting(2)
    lines = Connections(adapter)
    adapter.away = AWAY
    wanted = asyncio.ensure_future(lines.acquire("medium", 2))
    await turns()
    assert adapter.tries == 2
    lines.close()
    wanted.cancel()


async def test_an_outage_is_over_when_none_is_wanted_any_more(pauses_s: list[float]) -> None:
    adapter = Connecting(1)
    lines = Connections(adapter)
    pauses_s[:] = [0.001]
    adapter.away = AWAY
    wanted = asyncio.ensure_future(lines.acquire("medium", 1))
    await eventually(lambda: adapter.tries >= 2)
    wanted.cancel()
    await eventually(lambda: lines.unavailable is None)
    tries = adapter.tries
    await turns()
    assert (adapter.tries, waiting()) == (tries, 0)


async def test_a_connection_that_is_not_wanted_any_more_is_given_back() -> None:
    adapter = Connecting(1)
    adapter.greets.clear()
    lines = Connections(adapter)
    wanted = asyncio.ensure_future(lines.acquire("medium", 1))
    await turns()
    wanted.cancel()
    await turns()
    adapter.greets.set()
    await turns()
    assert (adapter.tries, adapter.lent, waiting()) == (1, 0, 0)


async def test_closed_it_opens_no_more(pauses_s: list[float]) -> None:
    adapter = Connecting(1)
    adapter.greets.clear()
    lines = Connections(adapter)
    wanted = asyncio.ensure_future(lines.acquire("medium", 1))
    await turns()
    assert adapter.opening == 1
    lines.close()
    await turns()
    assert (adapter.opening, adapter.tries, adapter.lent) == (0, 1, 0)
    wanted.cancel()


async def test_closed_in_a_pause_it_tries_no_more(pauses_s: list[float]) -> None:
    adapter = Connecting(1)
    lines = Connections(adapter)
    pauses_s[:] = [0.02]
    adapter.away = AWAY
    wanted = asyncio.ensure_future(lines.acquire("medium", 1))
    await turns()
    assert adapter.tries == 1
    lines.close()
    await asyncio.wait([wanted], timeout=0.05)
    assert adapter.tries == 1
    wanted.cancel()


async def test_a_line_that_waits_for_another_connection_was_not_handed_over() -> None:
    adapter = Connecting(1)
    [line] = await Connections(adapter).acquire("medium", 1)
    adapter.away = AWAY
    replaced = asyncio.ensure_future(line.replace(asyncio.Event()))
    await turns()
    assert (line.handed_over, adapter.lent) == (False, 0)
    # Given up like that, there is nothing to give back.
    replaced.cancel()
    await asyncio.gather(replaced, return_exceptions=True)
    line.release()
    assert adapter.lent == 0


async def test_an_adapter_without_connections_has_as_many_lines_as_are_wanted() -> None:
    lines = Unconnected(Answering())
    got = await lines.acquire("medium", 3)
    assert len(got) == 3
    assert all(line.handed_over for line in got)
    assert lines.unavailable is None
