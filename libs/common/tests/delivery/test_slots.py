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


async def test_slots_given_to_one_who_is_cancelled_at_that_moment_are_not_lost() -> None:
    slots = Slots(2)
    await slots.acquire("high", 2)
    waiting = asyncio.create_task(slots.acquire("high", 2))
    await asyncio.wait([waiting], timeout=0.01)
    slots.release(2)
    # They are given in the next turn of the loop, before the task that waits for them goes on: it is cancelled then.
    asyncio.get_running_loop().call_soon(waiting.cancel)
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    async with asyncio.timeout(5):
        assert await slots.acquire("low", 2) == 2


async def test_a_priority_that_is_not_known_waits_with_the_lowest() -> None:
    slots = Slots(1)
    await slots.acquire("low")
    order: list[str] = []
    tasks = await queue_up(slots, {"urgent": 1, "medium": 1}, order)
    for _ in tasks:
        slots.release()
        await asyncio.wait(tasks, timeout=0.01)
    await asyncio.gather(*tasks)
    assert order == ["medium", "urgent"]


async def test_a_turn_gets_what_is_free_and_no_more_than_it_wants() -> None:
    slots = Slots(3)
    assert await slots.acquire("low", 5) == 3
    slots.release(2)
    assert await slots.acquire("low", 1) == 1


async def test_what_is_given_back_in_one_turn_of_the_loop_is_given_on_together() -> None:
    slots = Slots(2)
    await slots.acquire("high", 2)
    # It asks between the two that are given back.
    waiting = asyncio.create_task(slots.acquire("low", 2))
    asyncio.get_running_loop().call_soon(slots.release)
    slots.release()
    assert await waiting == 2


async def test_a_turn_takes_what_it_wants_and_leaves_the_rest_to_the_next() -> None:
    slots = Slots(3)
    assert await slots.acquire("low", 2) == 2
    async with asyncio.timeout(5):
        assert await slots.acquire("low", 2) == 1
