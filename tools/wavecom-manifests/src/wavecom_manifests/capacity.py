"""The measured figures: what scalers' thresholds and the sizing are made of.

Those of a sender are in its channel's declaration, all others in `deploy/capacity.toml`.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from wavecom_common.channels.declaration import Copy
from wavecom_common.channels.registry import declared
from wavecom_common.events.routing import sender_name

from wavecom_manifests.repository import ROOT

FILE: Final = ROOT / "deploy/capacity.toml"


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
    """The figures as they are now."""
    found: dict[str, Any] = tomllib.loads(FILE.read_text())
    costs = {sender_name(name): channel.cost for name, channel in declared().items()}
    # A notification has one channel, each as often as the others: it costs each sender its part.
    single = {name: round(cost.single_ms / len(costs), 3) for name, cost in costs.items()}
    batch = {name: round(cost.batch_ms / len(costs), 3) for name, cost in costs.items()}
    copies = {name: Copy(**figures) for name, figures in found["copies"].items() if name != "measured"}
    return Capacity(
        bench={"single": found["bench"]["single"] | single, "batch": found["bench"]["batch"] | batch},
        bench_measured=found["bench"]["measured"],
        copies=copies | {name: cost.copy for name, cost in costs.items()},
        copies_measured=found["copies"]["measured"],
        disk_bytes=found["disk"],
        provider_s={name: cost.call_s for name, cost in costs.items()},
        **found["assumed"],
    )
