"""How long to wait before trying again."""

import random
from collections.abc import Iterator


def retry_delay_ms(failed_attempt: int, base_ms: int) -> int:
    """The wait after attempt `failed_attempt` (from 1) failed: base, twice the base, four times the base, ..."""
    return int(base_ms * 2 ** (failed_attempt - 1))


def reconnect_delays_s(first_s: float = 0.1, most_s: float = 5.0) -> Iterator[float]:
    """Endless waits between tries to reach something that is down: doubling, capped, with full jitter.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    ceiling_s = first_s
    while True:
        yield random.uniform(0.05, ceiling_s)
        ceiling_s = min(ceiling_s * 2, most_s)
