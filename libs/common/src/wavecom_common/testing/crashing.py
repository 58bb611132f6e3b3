"""Dying on purpose, once, at an exact step: for scripts that run a real process with one step of it wrapped."""

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Method = Callable[..., Awaitable[Any]]


def die(marker: Path) -> None:
    """SIGKILL this process, unless one before it died here: `marker` remembers."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def dying_before(method: Method, marker: Path) -> Method:
    """The method, with death in front of it."""

    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        die(marker)
        return await method(*args, **kwargs)

    return wrapped


def dying_after(method: Method, marker: Path) -> Method:
    """The method, with death behind it."""

    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = await method(*args, **kwargs)
        die(marker)
        return result

    return wrapped
