"""Waiting out what time heals."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from wavecom_common.kernel.backoff import reconnect_delays_s
from wavecom_common.kernel.errors import Draining, Unavailable, Unroutable

Result = TypeVar("Result")


async def until_available(
    step: Callable[[], Awaitable[Result]], *, stop: asyncio.Event, tell: Callable[[Exception], None]
) -> Result:
    """The step's result, repeating it while it raises `Unavailable` or `Unroutable`; each such error is told.

    Waits between tries grow to five seconds.

    Raises:
        Draining: `stop` was set before the step succeeded.
    """
    for delay_s in reconnect_delays_s():
        try:
            return await step()
        except (Unavailable, Unroutable) as error:
            tell(error)
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await stop.wait()
        if stop.is_set():
            raise Draining("stopping")
    raise AssertionError("the delays are endless")


async def unless_left(
    step: Coroutine[Any, Any, Result], left: asyncio.Event, *, timeout_s: float | None = None
) -> Result:
    """The step's result. The step is cancelled when `left` is set, or the time is over, before it is done.

    Raises:
        Draining: `left` was set.
        TimeoutError: the time was over.
    """
    task, leaving = asyncio.ensure_future(step), asyncio.ensure_future(left.wait())
    try:
        await asyncio.wait([task, leaving], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if left.is_set():
            raise Draining("nobody waits for it any more")
        raise TimeoutError
    finally:
        leaving.cancel()
        task.cancel()
