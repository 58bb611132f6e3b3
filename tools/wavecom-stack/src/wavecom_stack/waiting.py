"""Waiting for another process to get somewhere: the only place of the local stack that sleeps."""

import time
from collections.abc import Callable

from wavecom_stack.errors import StackError

_INTERVAL_S = 0.1


def wait_until(check: Callable[[], str | None], *, timeout_s: float) -> None:
    """Call `check` until it returns None.

    Args:
        check: returns why it is too early, or None. What it raises ends the waiting.
        timeout_s: how long to go on; the check runs at least once.

    Raises:
        StackError: time is up; carries the last reason.
    """
    deadline = time.monotonic() + timeout_s
    while (reason := check()) is not None:
        if time.monotonic() > deadline:
            raise StackError(f"{reason} (waited {timeout_s:.0f} s)")
        time.sleep(_INTERVAL_S)  # noqa: TID251 - other processes give no event to wait for
