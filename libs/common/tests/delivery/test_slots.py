import asyncio
from collections import Counter

from wavecom_common.delivery.slots import Slots


async def queue_up(slots: Slots, wanted: dict[str, int], order: list[str]) -> list[asyncio.Task[None]]:
    async def one(priority: str) -> None:
        await slots.acquire(priority)
        order.append(priority)

    tasks = [asyncio.create_task(one(priority)) for priority, count in wanted.items() for _ in range(count)]
    await asyncio.wait(tasks, timeout=0.01)
    return tasks


async def test_no_more_than_the_slots_there_are_run_at_once() -> None:
    slots = Slots(3)
    order: list[str] = []
    tasks = await queue_up(slots, {"medium": 5}, order)
    assert len(order) == 3
    slots.release()
    await asyncio.wait(tasks, timeout=0.01)
    assert len(order) == 4
    for _ in range(4):
        slots.release()
    await asyncio.gather(*tasks)


async def test_high_goes_first_and_low_never_starves() -> None:
    slots = Slots(1)
    await slots.acquire("low")
    order: list[str] = []
    tasks = await queue_up(slots, {"low": 100, "medium": 100, "high": 100}, order)
    for _ in range(21):
        slots.release()
        await asyncio.wait(tasks, timeout=0.001)
    assert order[0] == "high"
    assert Counter(order) == {"high": 16, "medium": 4, "low": 1}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_who_gives_up_waiting_leaves_the_slot_to_the_next() -> None:
    slots = Slots(1)
    await slots.acquire("high")
    first = asyncio.create_task(slots.acquire("high"))
    second = asyncio.create_task(slots.acquire("low"))
    await asyncio.wait([first, second], timeout=0.01)
    first.cancel()
    slots.release()
    async with asyncio.timeout(5):
        await second
    await asyncio.gather(first, return_exceptions=True)


async def test_a_slot_given_to_one_who_is_cancelled_at_that_moment_is_not_lost() -> None:
    slots = Slots(1)
    await slots.acquire("high")
    waiting = asyncio.create_task(slots.acquire("high"))
    await asyncio.wait([waiting], timeout=0.01)
    slots.release()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(5):
        await slots.acquire("low")
