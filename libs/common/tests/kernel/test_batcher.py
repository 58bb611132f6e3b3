import asyncio
import gc

import pytest
from wavecom_common.kernel.batcher import Batcher
from wavecom_common.kernel.errors import Overloaded


class Sink:
    """Takes batches; each waits at a gate when one is set."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate: asyncio.Event | None = None

    async def flush(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        if self.gate is not None:
            await self.gate.wait()
        return [item * 10 for item in items]


async def test_a_lone_item_leaves_at_once_and_alone() -> None:
    sink = Sink()
    batcher = Batcher(sink.flush, max_items=10, linger_s=60.0)
    async with asyncio.timeout(5):
        assert await batcher.submit(1) == 10
    assert sink.batches == [[1]]


async def test_items_that_come_while_a_batch_is_under_way_leave_together() -> None:
    sink = Sink()
    sink.gate = asyncio.Event()
    batcher = Batcher(sink.flush, max_items=10, linger_s=0.0)
    first = asyncio.create_task(batcher.submit(1))
    while not sink.batches:
        await asyncio.wait([first], timeout=0.01)
    rest = [asyncio.create_task(batcher.submit(item)) for item in (2, 3, 4)]
    await asyncio.wait(rest, timeout=0.05)
    assert sink.batches == [[1]]
    sink.gate.set()
    assert await asyncio.gather(first, *rest) == [10, 20, 30, 40]
    assert sink.batches == [[1], [2, 3, 4]]


async def test_a_full_batch_does_not_wait_for_the_linger() -> None:
    sink = Sink()
    batcher = Batcher(sink.flush, max_items=3, linger_s=60.0)
    await batcher.submit(0)
    async with asyncio.timeout(5):
        assert await batcher.submit_all([1, 2, 3]) == [10, 20, 30]


async def test_every_caller_gets_the_result_of_its_own_item() -> None:
    sink = Sink()
    batcher = Batcher(sink.flush, max_items=7, linger_s=0.001, max_in_flight=3)
    results = await asyncio.gather(*[batcher.submit(item) for item in range(100)])
    assert results == [item * 10 for item in range(100)]
    assert max(map(len, sink.batches)) == 7


async def test_a_failed_flush_fails_its_own_batch_only() -> None:
    async def flush(items: list[int]) -> list[int]:
        if 1 in items:
            raise ValueError("no")
        return items

    batcher = Batcher(flush, max_items=1, linger_s=0.0)
    results = await asyncio.gather(batcher.submit(1), batcher.submit(2), return_exceptions=True)
    assert isinstance(results[0], ValueError)
    assert results[1] == 2


async def test_an_error_in_one_place_reaches_that_caller_only() -> None:
    async def flush(items: list[int]) -> list[int | BaseException]:
        return [ValueError("odd") if item % 2 else item for item in items]

    batcher = Batcher(flush, max_items=10, linger_s=0.0)
    results = await asyncio.gather(batcher.submit(1), batcher.submit(2), return_exceptions=True)
    assert isinstance(results[0], ValueError)
    assert results[1] == 2


async def test_what_a_caller_gave_up_on_is_left_out() -> None:
    sink = Sink()
    sink.gate = asyncio.Event()
    batcher = Batcher(sink.flush, max_items=10, linger_s=0.0)
    first = asyncio.create_task(batcher.submit(1))
    while not sink.batches:
        await asyncio.wait([first], timeout=0.01)
    given_up = asyncio.create_task(batcher.submit(2))
    kept = asyncio.create_task(batcher.submit(3))
    await asyncio.wait([given_up], timeout=0.01)
    given_up.cancel()
    sink.gate.set()
    assert await kept == 30
    assert sink.batches == [[1], [3]]


async def test_beyond_its_bound_it_refuses() -> None:
    sink = Sink()
    sink.gate = asyncio.Event()
    batcher = Batcher(sink.flush, max_items=1, linger_s=0.0, max_pending=2)
    tasks = [asyncio.create_task(batcher.submit(0))]
    while not sink.batches:
        await asyncio.wait(tasks, timeout=0.01)
    tasks += [asyncio.create_task(batcher.submit(item)) for item in (1, 2)]
    await asyncio.wait(tasks, timeout=0.01)
    with pytest.raises(Overloaded):
        await batcher.submit(3)
    sink.gate.set()
    assert await asyncio.gather(*tasks) == [0, 10, 20]


async def test_more_than_two_batches_at_once_are_all_written() -> None:
    sink = Sink()
    batcher = Batcher(sink.flush, max_items=3, linger_s=0.0)
    assert await batcher.submit_all(range(7)) == [item * 10 for item in range(7)]
    assert sorted(item for batch in sink.batches for item in batch) == list(range(7))


async def test_no_more_batches_are_in_flight_than_allowed() -> None:
    in_flight, peak = 0, 0

    async def flush(items: list[int]) -> list[int]:
        nonlocal in_flight, peak
        in_flight += 1
        peak = max(peak, in_flight)
        await asyncio.wait([asyncio.create_task(asyncio.Event().wait())], timeout=0.005)
        in_flight -= 1
        return items

    batcher = Batcher(flush, max_items=1, linger_s=0.0, max_in_flight=2)
    await asyncio.gather(*[batcher.submit(item) for item in range(6)])
    assert peak == 2


async def test_what_is_refused_was_not_handed_over_and_says_what_waits() -> None:
    sink = Sink()
    sink.gate = asyncio.Event()
    batcher = Batcher(sink.flush, max_items=1, linger_s=0.0, max_pending=1)
    tasks = [asyncio.create_task(batcher.submit(0))]
    while not sink.batches:
        await asyncio.wait(tasks, timeout=0.01)
    tasks.append(asyncio.create_task(batcher.submit(1)))
    await asyncio.wait(tasks, timeout=0.01)
    assert batcher.pending == 1
    with pytest.raises(Overloaded, match=r"^1 items are waiting to be written$") as refused:
        await batcher.submit(2)
    assert not refused.value.handed_over
    sink.gate.set()
    assert await asyncio.gather(*tasks) == [0, 10]
    assert batcher.pending == 0


async def test_as_many_may_wait_as_its_bound_says() -> None:
    batcher = Batcher(Sink().flush, max_items=5, linger_s=0.0, max_pending=3)
    assert await batcher.submit_all([1, 2, 3]) == [10, 20, 30]
    with pytest.raises(Overloaded):
        await batcher.submit_all([1, 2, 3, 4])


async def test_of_several_batches_of_one_call_all_end_before_the_first_error_is_raised() -> None:
    ended: list[list[int]] = []

    async def flush(items: list[int]) -> list[int]:
        if 1 in items:
            raise ValueError("the first")
        await asyncio.wait([asyncio.create_task(asyncio.Event().wait())], timeout=0.01)
        ended.append(items)
        return items

    batcher = Batcher(flush, max_items=2, linger_s=0.0, max_in_flight=3)
    with pytest.raises(ValueError, match="the first"):
        await batcher.submit_all([1, 2, 3, 4, 5])
    assert ended == [[3, 4], [5]]


async def test_a_full_call_is_one_batch() -> None:
    sink = Sink()
    assert await Batcher(sink.flush, max_items=3, linger_s=0.0).submit_all([1, 2, 3]) == [10, 20, 30]
    assert sink.batches == [[1, 2, 3]]


async def test_what_is_cancelled_while_it_writes_cancels_its_callers_and_reports_no_error_of_its_own() -> None:
    async def flush(_: list[int]) -> list[int]:
        raise asyncio.CancelledError

    batcher = Batcher(flush, max_items=3, linger_s=0.0)
    with pytest.raises(asyncio.CancelledError):
        await batcher.submit(1)
    await batcher.drain()


async def test_a_drain_waits_for_what_is_under_way_also_when_its_callers_have_left() -> None:
    sink = Sink()
    sink.gate = asyncio.Event()
    batcher = Batcher(sink.flush, max_items=1, linger_s=0.0)
    caller = asyncio.create_task(batcher.submit(1))
    while not sink.batches:
        await asyncio.wait([caller], timeout=0.01)
    caller.cancel()
    draining = asyncio.create_task(batcher.drain())
    await asyncio.wait([draining], timeout=0.01)
    assert not draining.done()
    sink.gate.set()
    await draining


async def test_a_failed_flush_is_an_error_of_its_callers_and_of_no_one_else() -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    async def flush(_: list[int]) -> list[int]:
        raise ValueError("no")

    batcher = Batcher(flush, max_items=1, linger_s=0.0)
    with pytest.raises(ValueError, match="no"):
        await batcher.submit(1)
    await batcher.drain()
    # Nor of the task that ran it, which nobody looks at.
    gc.collect()
    assert reported == []
