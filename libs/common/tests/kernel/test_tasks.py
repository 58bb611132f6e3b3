import asyncio

import pytest
from wavecom_common.kernel.tasks import all_ended


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
