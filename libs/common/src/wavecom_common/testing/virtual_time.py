"""An event loop whose time jumps to the next timer: hours pass in milliseconds, in the same order every time."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Jump(selectors.SelectSelector):
    """Instead of waiting for I/O, of which there is none, it moves the time on."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits and nothing will ever happen")
        self.now_s += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, on virtual time."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._jump.now_s


class VirtualClock:
    """The loop's time as production code asks for it, on a host whose clock is off."""

    def __init__(self, ahead_ms: int = 0) -> None:
        self._ahead_ms = ahead_ms

    def now_ms(self) -> int:
        """See `kernel.clock.Clock`."""
        return 1_700_000_000_000 + self._ahead_ms + round(asyncio.get_running_loop().time() * 1000)

    async def sleep(self, seconds: float) -> None:
        """See `kernel.clock.Clock`."""
        await asyncio.sleep(seconds)  # noqa: TID251 - virtual time


def run_virtually(main: Callable[[], Awaitable[Result]]) -> Result:
    """Run to the end on a fresh loop; whatever still waits then is thrown away."""
    loop = VirtualLoop()
    loop.set_exception_handler(lambda _, __: None)
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(_call(main))
    finally:
        loop.set_exception_handler(lambda _, __: None)
        while tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
            loop.run_until_complete(_one_turn())
        asyncio.set_event_loop(None)
        loop.close()


async def _call(main: Callable[[], Awaitable[Result]]) -> Result:
    return await main()


async def _one_turn() -> None:
    """A turn of the loop, in which cancelled tasks come a step nearer to their end."""
    await asyncio.sleep(0)  # noqa: TID251 - no time passes
