"""Waiting for something to become true, with a deadline: the only sleep a test has."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar

Value = TypeVar("Value")

_PAUSE_S = 0.02


async def eventually(
    probe: Callable[[], Value | Awaitable[Value]], *, timeout_s: float = 15.0, what: str = "it"
) -> Value:
    """The probe's first true value. An AssertionError counts as not yet.

    Raises:
        AssertionError: there was none in time; with the last value or error.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    while True:
        last: object
        try:
            answer = probe()
            value = await answer if isawaitable(answer) else answer
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        if loop.time() > deadline_s:
            raise AssertionError(f"{what} did not happen within {timeout_s:g} s; last: {last!r}")
        await asyncio.sleep(_PAUSE_S)  # noqa: TID251 - see the module's first line
