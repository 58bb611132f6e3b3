"""Logging once what happens to thousands of messages for one cause."""

import asyncio
from typing import Final

EVERY_S: Final = 10.0
_MAX_CAUSES: Final = 100


class Seldom:
    """Decides whether a cause is to be logged: once in ten seconds each."""

    def __init__(self) -> None:
        self._logged_s: dict[str, float] = {}

    def due(self, cause: str) -> bool:
        """True when it was not logged lately; it counts as logged then."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._logged_s.get(cause, float("-inf")) < EVERY_S:
            return False
        if len(self._logged_s) >= _MAX_CAUSES:
            self._logged_s.clear()
        self._logged_s[cause] = now_s
        return True
