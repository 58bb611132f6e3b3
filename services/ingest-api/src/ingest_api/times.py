"""Times as the API writes them: `2024-12-11T10:30:00.000Z`."""

from datetime import UTC, datetime
from functools import lru_cache


def iso(ms: int) -> str:
    """Milliseconds since the epoch as text, always with milliseconds, always UTC."""
    seconds, milliseconds = divmod(ms, 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
