"""The measured figures of `deploy/capacity.toml`: what scalers' thresholds and the sizing are made of."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from wavecom_manifests.repository import ROOT

FILE: Final = ROOT / "deploy/capacity.toml"


@dataclass(frozen=True, kw_only=True)
class Copy:
    """What one copy of a consumer did with a full queue.

    Attributes:
        per_s: events a second (a sender's are notifications).
        cpu_ms: CPU of one event.
        memory_mb: how much memory it took.
    """

    per_s: int
    cpu_ms: float
    memory_mb: int


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """All figures.

    Attributes:
        bench: CPU milliseconds a notification, by mode of `make bench` and process; servers are processes too.
        bench_measured: when.
        copies: by process.
        copies_measured: on what.
        disk_bytes: of a notification, by what is stored.
        busy: the share of a processor to reckon with.
        queue_message_us: CPU of a quorum queue's process a message, at most.
        largest_system_per_minute: notifications a minute beyond which there are several systems.
        provider_s: seconds of a provider's call, by sender.
    """

    bench: Mapping[str, Mapping[str, float]]
    bench_measured: str
    copies: Mapping[str, Copy]
    copies_measured: str
    disk_bytes: Mapping[str, int]
    busy: float
    queue_message_us: float
    largest_system_per_minute: int
    provider_s: Mapping[str, float]


def read() -> Capacity:
    """The figures as they are in the file."""
    found: dict[str, Any] = tomllib.loads(FILE.read_text())
    assumed = found["assumed"]
    return Capacity(
        bench={mode: figures for mode, figures in found["bench"].items() if mode != "measured"},
        bench_measured=found["bench"]["measured"],
        copies={name: Copy(**figures) for name, figures in found["copies"].items() if name != "measured"},
        copies_measured=found["copies"]["measured"],
        disk_bytes=found["disk"],
        **assumed,
    )
