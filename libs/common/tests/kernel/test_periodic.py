import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from wavecom_common.kernel.component import Component
from wavecom_common.kernel.periodic import Periodic
from wavecom_common.kernel.tasks import VITAL
from wavecom_common.testing.waiting import eventually


class Counting(Periodic):
    """Counts how often it was called; each call waits at the gate."""

    def __init__(self, interval_s: float = 0.001) -> None:
        super().__init__("counting", interval_s)
        self.begun = self.ended = 0
        self.gate = asyncio.Event()

    async def work(self) -> None:
        self.begun += 1
        await self.gate.wait()
        self.ended += 1


@pytest.fixture
async def deaths() -> AsyncIterator[list[dict[str, Any]]]:
    loop, found = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: found.append(context))
    yield found
    loop.set_exception_handler(None)


async def test_a_component_that_overrides_nothing_has_a_life_all_the_same() -> None:
    component = Component()
    await component.start()
    assert component.ready() is None
    await component.drain()
    await component.close()


async def test_work_is_done_again_and_again_and_first_after_one_interval() -> None:
    periodic = Counting()
    periodic.gate.set()
    await periodic.start()
    assert periodic.begun == 0
    await eventually(lambda: periodic.ended > 2, what="the third time")
    await periodic.drain()
    await periodic.close()


async def test_a_drain_finishes_the_work_that_was_begun_and_begins_no_more() -> None:
    periodic = Counting()
    await periodic.start()
    await eventually(lambda: periodic.begun == 1, what="the first time")
    draining = asyncio.ensure_future(periodic.drain())
    await eventually(periodic.stopping.is_set, what="the drain")
    assert not draining.done()
    periodic.gate.set()
    await draining
    assert (periodic.begun, periodic.ended) == (1, 1)


async def test_a_drain_does_not_wait_for_the_interval() -> None:
    periodic = Counting(interval_s=3600)
    await periodic.start()
    async with asyncio.timeout(10):
        await periodic.drain()
    assert periodic.begun == 0


async def test_a_close_cuts_work_short() -> None:
    periodic = Counting()
    await periodic.start()
    await eventually(lambda: periodic.begun == 1, what="the first time")
    await periodic.close()
    assert periodic.ended == 0


async def test_a_close_ends_it_also_when_the_work_swallows_the_cancellation() -> None:
    class Swallowing(Counting):
        async def work(self) -> None:
            with nullcontext() if self.begun else suppress(asyncio.CancelledError):
                await super().work()

    periodic = Swallowing()
    await periodic.start()
    await eventually(lambda: periodic.begun == 1, what="the first time")
    async with asyncio.timeout(5):
        await periodic.close()
    assert periodic.begun == 1


async def test_what_work_raises_is_reported_as_the_death_of_a_vital_task(deaths: list[dict[str, Any]]) -> None:
    class Failing(Periodic):
        async def work(self) -> None:
            raise ValueError("a defect")

    periodic = Failing("failing", 0.001)
    await periodic.start()
    [death] = await eventually(lambda: deaths, what="the death")
    assert death[VITAL] == "failing"
    await periodic.drain()
    await periodic.close()
