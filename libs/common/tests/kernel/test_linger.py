"""How long batches wait for others, in virtual time: what a lone caller pays, and what a busy system saves."""

import asyncio
import random
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from wavecom_common.kernel import batcher as module
from wavecom_common.kernel.batcher import FULL_LINGER_ITEMS, Batcher, Load, linger_s
from wavecom_common.testing.virtual_time import VirtualClock, run_virtually

FLUSH_S = 0.003
CLOCK = VirtualClock()


@dataclass
class Writes:
    """Flushes take 3 ms; what was written, and how long each caller waited."""

    batches: list[int] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)

    def batcher(self, longest_s: float, load: Load | None = None) -> Batcher[int, int]:
        return Batcher(self._flush, max_items=100, linger_s=longest_s, max_in_flight=2, load=load)

    async def submit(self, to: Batcher[int, int]) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await to.submit(0)
        self.waits_s.append(loop.time() - began_s)

    async def _flush(self, items: list[int]) -> list[int]:
        self.batches.append(len(items))
        await CLOCK.sleep(FLUSH_S)
        return items

    @property
    def mean_batch(self) -> float:
        return statistics.mean(self.batches)

    @property
    def median_wait_s(self) -> float:
        return statistics.median(self.waits_s)


def virtually(main: Callable[[Writes], Awaitable[None]]) -> Writes:
    writes = Writes()
    run_virtually(lambda: main(writes))
    return writes


def paced(per_s: float, *, longest_s: float, lanes: int = 1, items: int = 3000) -> Writes:
    """Items at random moments, whatever becomes of those before."""

    async def main(writes: Writes) -> None:
        load, chance = Load(), random.Random(1)
        batchers = [writes.batcher(longest_s, load) for _ in range(lanes)]
        async with asyncio.TaskGroup() as group:
            for _ in range(items):
                await CLOCK.sleep(chance.expovariate(per_s))
                group.create_task(writes.submit(chance.choice(batchers)))

    return virtually(main)


def clients(count: int, *, longest_s: float, each: int = 200) -> Writes:
    """Clients that submit, are answered, and submit the next a moment later."""

    async def main(writes: Writes) -> None:
        batcher, chance = writes.batcher(longest_s), random.Random(1)

        async def client() -> None:
            for _ in range(each):
                await writes.submit(batcher)
                await CLOCK.sleep(count * 0.0005 * chance.uniform(0.5, 1.5))

        await asyncio.gather(*[client() for _ in range(count)])

    return virtually(main)


@pytest.mark.parametrize(
    ("others", "expected_s"),
    [(0, 0.0), (FULL_LINGER_ITEMS / 4, 0.005), (FULL_LINGER_ITEMS, 0.02), (10 * FULL_LINGER_ITEMS, 0.02)],
)
def test_the_linger_is_in_proportion_to_the_items_of_others_up_to_its_longest(others: float, expected_s: float) -> None:
    assert linger_s(0.02, others) == pytest.approx(expected_s)


def test_a_lone_caller_waits_for_its_own_write_and_nothing_else() -> None:
    writes = clients(1, longest_s=10.0)
    assert writes.waits_s == pytest.approx([FLUSH_S] * 200)


def test_a_lone_caller_that_submits_many_at_once_waits_for_nothing_either() -> None:
    async def main(writes: Writes) -> None:
        batcher = writes.batcher(10.0)
        for _ in range(20):
            began_s = asyncio.get_running_loop().time()
            await batcher.submit_all([0] * 60)
            assert asyncio.get_running_loop().time() - began_s == pytest.approx(FLUSH_S)

    assert virtually(main).batches == [60] * 20


@pytest.mark.parametrize(("per_s", "longest_s"), [(33, 0.2), (100, 0.02), (100, 0.1), (300, 0.02)])
def test_a_quiet_stream_does_not_wait(per_s: float, longest_s: float) -> None:
    assert paced(per_s, longest_s=longest_s).median_wait_s < FLUSH_S + 0.002


@pytest.mark.parametrize(
    ("per_s", "longest_s", "lanes", "least"),
    [(833, 0.02, 1, 11), (833, 0.1, 1, 60), (833, 0.1, 9, 8), (400, 0.2, 1, 50)],
)
def test_a_busy_stream_is_written_in_batches_however_many_keys_it_has(
    per_s: float, longest_s: float, lanes: int, least: int
) -> None:
    assert paced(per_s, longest_s=longest_s, lanes=lanes).mean_batch >= least


@pytest.mark.parametrize("count", [32, 64, 128])
def test_many_clients_are_served_in_no_more_batches_than_with_the_longest_linger(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = clients(count, longest_s=0.02)
    monkeypatch.setattr(module, "linger_s", lambda longest_s, _: longest_s)
    assert len(writes.batches) <= 1.05 * len(clients(count, longest_s=0.02).batches)


def test_after_a_burst_a_lone_caller_soon_waits_for_nothing() -> None:
    async def main(writes: Writes) -> None:
        batcher = writes.batcher(0.02)
        await asyncio.gather(*[writes.submit(batcher) for _ in range(500)])
        writes.waits_s.clear()
        for _ in range(30):
            await writes.submit(batcher)

    waits_s = virtually(main).waits_s
    assert max(waits_s) <= 0.02 + FLUSH_S
    assert waits_s[-1] == pytest.approx(FLUSH_S)


def test_what_is_given_up_and_what_fails_counts_as_load_no_more() -> None:
    async def main(writes: Writes) -> None:
        async def fail(items: list[int]) -> list[int]:
            await CLOCK.sleep(FLUSH_S)
            raise ValueError("no")

        load = Load()
        batcher = Batcher(fail, max_items=1, linger_s=0.0, load=load)
        tasks = [asyncio.create_task(batcher.submit(0)) for _ in range(3)]
        await CLOCK.sleep(FLUSH_S / 2)
        tasks[-1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.drain()
        assert load.items == 0

    virtually(main)


def test_where_nobody_waits_the_whole_linger_is_kept_at_any_load_but_not_after_a_pause() -> None:
    async def main(writes: Writes) -> None:
        batcher = Batcher(writes._flush, max_items=100, linger_s=0.1, eager=False)
        await writes.submit(batcher)
        await writes.submit(batcher)
        await CLOCK.sleep(1)
        await writes.submit(batcher)

    assert virtually(main).waits_s == pytest.approx([FLUSH_S, 0.1, FLUSH_S])
