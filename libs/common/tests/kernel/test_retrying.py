"""What is repeated while it cannot be done, until when, and what ends the wait; in virtual time."""

import asyncio

import pytest
from wavecom_common.kernel.backoff import reconnect_delays_s, retry_delay_ms
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Draining, Unavailable, Unroutable, WavecomError
from wavecom_common.kernel.retrying import unless_left, until_available
from wavecom_common.testing.virtual_time import run_virtually

pause = SYSTEM_CLOCK.sleep


@pytest.fixture(autouse=True)
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait is the longest it may be."""
    monkeypatch.setattr("random.uniform", lambda _, longest: longest)


class Step:
    """Raises these errors, one a call, and then returns."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.at_s: list[float] = []

    async def __call__(self) -> str:
        self.at_s.append(asyncio.get_running_loop().time())
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_a_step_is_repeated_with_growing_waits_while_what_it_needs_is_away() -> None:
    errors: list[Exception] = [Unavailable("away"), Unroutable("not bound"), Unavailable("away")]
    step, seen = Step(*errors), list[Exception]()

    async def main() -> str:
        return await until_available(step, stop=asyncio.Event(), tell=seen.append)

    assert run_virtually(main) == "done"
    assert seen == errors
    assert step.at_s == pytest.approx([0, 0.1, 0.3, 0.7])


def test_what_time_does_not_heal_is_raised_at_once() -> None:
    step = Step(WavecomError("a bug"))

    async def main() -> None:
        with pytest.raises(WavecomError, match="a bug"):
            await until_available(step, stop=asyncio.Event(), tell=lambda _: None)

    run_virtually(main)
    assert len(step.at_s) == 1


def test_a_stop_ends_the_wait_between_two_tries_and_no_try() -> None:
    step = Step(*[Unavailable("away")] * 100)

    async def main() -> float:
        stop = asyncio.Event()
        waiting = asyncio.ensure_future(until_available(step, stop=stop, tell=lambda _: None))
        await pause(100)
        tries = len(step.at_s)
        stop.set()
        with pytest.raises(Draining, match=r"^stopping$"):
            await waiting
        assert len(step.at_s) == tries
        # It is tried once even so: what can be done at once is done.
        done = Step()
        assert await until_available(done, stop=stop, tell=lambda _: None) == "done"
        with pytest.raises(Draining):
            await until_available(Step(Unavailable("away")), stop=stop, tell=lambda _: None)
        return asyncio.get_running_loop().time()

    assert run_virtually(main) == 100


async def after(seconds: float, result: str = "done") -> str:
    await pause(seconds)
    return result


def test_a_step_that_is_done_in_time_gives_its_result() -> None:
    async def main() -> None:
        assert await unless_left(after(3), asyncio.Event()) == "done"
        assert await unless_left(after(3), asyncio.Event(), timeout_s=4) == "done"

    run_virtually(main)


def test_a_step_is_cancelled_when_its_time_is_over_or_it_is_left() -> None:
    async def main() -> None:
        loop, left, cancelled = asyncio.get_running_loop(), asyncio.Event(), list[float]()

        async def step() -> None:
            try:
                await pause(1_000)
            finally:
                cancelled.append(loop.time())

        with pytest.raises(TimeoutError):
            await unless_left(step(), left, timeout_s=4)
        await pause(0)
        waiting = asyncio.ensure_future(unless_left(step(), left, timeout_s=50))
        await pause(6)
        left.set()
        with pytest.raises(Draining, match=r"^nobody waits for it any more$"):
            await waiting
        await pause(0)
        assert cancelled == [4, 10]

    run_virtually(main)


def test_a_step_that_is_done_when_it_is_left_counts() -> None:
    async def main() -> None:
        left = asyncio.Event()
        left.set()

        async def at_once() -> str:
            return "done"

        assert await unless_left(at_once(), left) == "done"

    run_virtually(main)


def test_a_caller_that_is_cancelled_takes_its_step_with_it() -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def step() -> None:
            try:
                await pause(1_000)
            finally:
                ended.set()

        waiting = asyncio.ensure_future(unless_left(step(), asyncio.Event()))
        await pause(1)
        waiting.cancel()
        await asyncio.wait_for(ended.wait(), 1)

    run_virtually(main)


def test_reconnects_wait_up_to_twice_as_long_each_time_and_five_seconds_at_most() -> None:
    delays = reconnect_delays_s()
    assert [next(delays) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    others = reconnect_delays_s(1.0, 3.0)
    assert [next(others) for _ in range(3)] == [1.0, 2.0, 3.0]


def test_reconnects_wait_a_little_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda shortest, _: shortest)
    assert next(reconnect_delays_s()) == 0.05


def test_a_retry_waits_twice_as_long_each_time() -> None:
    assert [retry_delay_ms(attempt, 500) for attempt in (1, 2, 3, 4)] == [500, 1_000, 2_000, 4_000]
