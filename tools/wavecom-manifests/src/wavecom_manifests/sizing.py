"""How much of everything a load takes, reckoned from the measured figures. Pure: figures in, numbers out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ingest_api.settings import IngestSettings
from wavecom_common.events import types
from wavecom_common.events.channels import CHANNELS, PRIORITIES
from wavecom_common.events.routing import routing_key
from wavecom_common.hosting.sender import SenderSettings
from wavecom_proto.v1.events_pb2 import Event

from wavecom_manifests.capacity import Capacity
from wavecom_manifests.processes import PROCESSES

RATES_PER_MINUTE: Final = (50_000, 500_000, 5_000_000)
SERVERS: Final = ("rabbitmq", "mongodb")
# One may be away at any time.
_LEAST_PODS: Final = 2
_DAY_MINUTES: Final = 24 * 60
# Notifications a POST in the benchmark's mode `batch`.
_BATCH: Final = 100


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a load takes.

    Attributes:
        systems: how many systems stand side by side, each with a broker and a database of its own.
        pods: of each process, in all systems together, with one CPU each.
        cores: CPUs each member of a server needs, in each system.
        queue_messages_per_s: messages through the queue that all notifications of one system pass.
        queue_busy: how busy that makes the one process that runs this queue; 1 is its end.
        disk_gb_per_day: what each day adds to the members' disks of one system.
    """

    systems: int
    pods: Mapping[str, int]
    cores: Mapping[str, int]
    queue_messages_per_s: float
    queue_busy: float
    disk_gb_per_day: float


def size(capacity: Capacity, mode: str, per_minute: int) -> Size:
    """For so many notifications a minute, posted as that mode of the benchmark does."""
    systems = math.ceil(per_minute / capacity.largest_system_per_minute)
    per_s = per_minute / systems / 60
    cpu_ms = capacity.bench[mode]
    pods = {name: _pods(capacity, name, cpu_ms[name], per_s) for name in PROCESSES}
    messages_per_s = per_s / events_a_message(per_s / pods["ingest-api"], mode)
    return Size(
        systems=systems,
        pods={name: number * systems for name, number in pods.items()},
        cores={name: _cpus(per_s * cpu_ms[name] / 1000 / capacity.busy) for name in SERVERS},
        queue_messages_per_s=messages_per_s,
        queue_busy=messages_per_s * capacity.queue_message_us / 1e6,
        disk_gb_per_day=per_s * 60 * _DAY_MINUTES * sum(capacity.disk_bytes.values()) / 1e9,
    )


def events_a_message(per_s: float, mode: str) -> float:
    """How many requests of one routing key a copy of the API gathers within its linger, when it takes so many a second.

    The requests of one call are published together, so a batch's message holds at least its own of that key.
    """
    settings = IngestSettings.model_construct()
    keys = len({routing_key(Event(type=types.REQUESTED, channel=c, priority=p)) for c in CHANNELS for p in PRIORITIES})
    gathered = per_s / keys * settings.batch_linger_ms / 1000
    least = 1.0 if mode == "single" else _BATCH / keys
    return min(max(gathered, least), settings.batch_max_events)


def _pods(capacity: Capacity, name: str, cpu_ms: float, per_s: float) -> int:
    busy = per_s * cpu_ms / 1000
    if name in capacity.provider_s:
        calls_at_once = per_s / len(CHANNELS) * capacity.provider_s[name]
        busy = max(busy, calls_at_once / int(SenderSettings.model_fields["max_in_flight"].default))
    return max(_LEAST_PODS, math.ceil(busy / capacity.busy))


def _cpus(needed: float) -> int:
    """The next size machines come in."""
    return int(2 ** max(1, math.ceil(math.log2(needed))))


def cores_per_notification(capacity: Capacity, mode: str) -> Sequence[tuple[str, float, float]]:
    """Each process and server, its CPU milliseconds a notification, and how many a second one core carries."""
    cpu_ms = capacity.bench[mode]
    return [(name, cpu_ms[name], 1000 / cpu_ms[name]) for name in (*PROCESSES, *SERVERS)]
