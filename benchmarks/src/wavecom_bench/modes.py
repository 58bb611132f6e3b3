"""What is measured: each mode is a system's settings and a load."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

# A provider that answers at once and never fails: what is measured is us.
INSTANT: Final[Mapping[str, str]] = {
    "WAVECOM_SIMULATED_SUCCESS_RATE": "1",
    "WAVECOM_SIMULATED_MIN_DELAY_MS": "0",
    "WAVECOM_SIMULATED_MAX_DELAY_MS": "0",
}
# The providers' own delays, per channel, are the senders' defaults.
SEED_DELAYS: Final[Mapping[str, str]] = {"WAVECOM_SIMULATED_SUCCESS_RATE": "1"}


# More may wait than a system in earnest would let.
NO_REFUSALS: Final[Mapping[str, str]] = {**INSTANT, "WAVECOM_BACKLOG_EMERGENCY": "10000000"}


@dataclass(frozen=True, slots=True)
class Mode:
    """A load of `notifications`, `per_post` in each POST, over `connections` at once, as fast as they are answered.

    `trace_ratio` is the share of traces sampled; None switches tracing off.
    """

    name: str
    what: str
    notifications: int
    connections: int = 40
    per_post: int = 1
    environment: Mapping[str, str] = field(default_factory=lambda: INSTANT)
    trace_ratio: float | None = 0.1
    # Of every hundred notifications, how many are of each priority.
    priorities: tuple[tuple[str, int], ...] = (("medium", 100),)
    # Posted at this rate, at random moments, whether answered or not; None: each connection posts when it is answered.
    per_s: float | None = None


MODES: Final = (
    Mode("single", "one notification a POST, tracing sampled at 10 %", 200_000),
    Mode("untraced", "the same without tracing", 20_000, trace_ratio=None),
    Mode("traced", "the same with every trace sampled", 10_000, trace_ratio=1.0),
    Mode("mix", "all channels, 10 % high, 60 % medium, 30 % low", 20_000,
         priorities=(("high", 10), ("medium", 60), ("low", 30))),
    Mode("delays", "the delays of each channel's simulated provider", 20_000,
         environment=SEED_DELAYS),
    Mode("batch", "100 notifications a POST", 100_000, connections=8, per_post=100),
    Mode("burst", "100,000 at once, 1,000 a POST: a backlog builds and drains", 100_000, connections=8, per_post=1000,
         environment=NO_REFUSALS),
    Mode("urgent", "high priority, 1 %, amid a backlog of low priority", 50_000, connections=8, per_post=1000,
         environment=NO_REFUSALS, priorities=(("high", 1), ("low", 99))),
    Mode("quiet-1", "one connection that posts one by one", 1_000, connections=1),
    Mode("quiet-8", "the same over 8 connections", 2_000, connections=8),
    Mode("quiet-32", "over 32 connections", 8_000, connections=32),
    Mode("quiet-128", "over 128 connections", 16_000, connections=128),
    Mode("quiet-paced", "100 a second at random moments", 1_500, connections=64, per_s=100.0),
)  # fmt: skip


def chosen(names: Sequence[str]) -> list[Mode]:
    """The modes of these names, or of a group: `quiet` is all whose names begin with `quiet-`. All without names."""
    return [mode for mode in MODES if not names or mode.name in names or mode.name.split("-")[0] in names]
