import asyncio

import pytest
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.tasks import VITAL, all_ended, cancel, spawn_vital
from wavecom_common.testing.virtual_time import run_virtually


async def test_an_error_is_raised_only_when_nobody_is_at_work_any_more() -> None:
    gate, ended = asyncio.Event(), list[str]()

    async def fails() -> str:
        raise ValueError("first")

    async def takes_long() -> str:
        await gate.wait()
        ended.append("second")
        return "second"

    waiting = asyncio.ensure_future(all_ended([fails(), takes_long()]))
    await asyncio.wait([waiting], timeout=0.01)
    assert not waiting.done()
    gate.set()
    with pytest.raises(ValueError, match="first"):
        await waiting
    assert ended == ["second"]


async def test_results_are_in_the_order_of_the_work() -> None:
    async def result(number: int) -> int:
        await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.01 / number)
        return number

    assert await all_ended([result(number) for number in (1, 2, 3)]) == [1, 2, 3]


def test_a_task_that_dies_is_reported_to_the_loop_with_its_name_and_one_that_ends_or_is_cancelled_is_not() -> None:
    async def main() -> None:
        loop, reported = asyncio.get_running_loop(), list[dict[str, object]]()
        loop.set_exception_handler(lambda _, context: reported.append(context))

        async def dies() -> None:
            raise ZeroDivisionError

        async def ends() -> None:
            """At once."""

        async def goes_on() -> None:
            await asyncio.Event().wait()

        tasks = [spawn_vital(work, name) for work, name in ((dies(), "one"), (ends(), "two"), (goes_on(), "three"))]
        await asyncio.wait(tasks[:2])
        await cancel(tasks[2])
        assert tasks[2].cancelled()
        await cancel(None)
        await asyncio.wait([asyncio.ensure_future(ends())])
        [context] = reported
        assert (context["message"], context[VITAL]) == ("one died", "one")
        assert isinstance(context["exception"], ZeroDivisionError)
        assert [task.get_name() for task in tasks] == ["one", "two", "three"]

    run_virtually(main)


def test_a_task_that_is_cancelled_has_ended_when_the_call_returns() -> None:
    async def main() -> None:
        ended = list[str]()

        async def takes_its_time() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await SYSTEM_CLOCK.sleep(1)
                ended.append("it")

        task = asyncio.ensure_future(takes_its_time())
        await SYSTEM_CLOCK.sleep(1)
        await cancel(task)
        assert ended == ["it"]

    run_virtually(main)
