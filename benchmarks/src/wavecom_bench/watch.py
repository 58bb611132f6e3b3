"""What goes on while a load runs: queues, memory, CPU, and how soon a notification can be asked for."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

import httpx
from wavecom_common.channels.registry import declared
from wavecom_common.events import routing
from wavecom_common.events.channels import CHANNELS, PRIORITIES
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.topology import message_counts

from wavecom_bench.load import Posted
from wavecom_bench.usage import Processes

_INTERVAL_S: Final = 1.0
_WATCHED: Final = next(iter(declared().values()))
QUEUES: Final = [
    routing.DISPATCHER_QUEUE,
    *[routing.sender_queue(channel, priority) for channel in CHANNELS for priority in PRIORITIES],
    routing.PROJECTOR_QUEUE,
]


@dataclass
class Seen:
    """Samples, one a second, and peaks.

    By sample: seconds since the start, CPU seconds used and notifications accepted until then, messages ready by queue.
    Memory in MB.
    """

    times_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    posted: list[int] = field(default_factory=list)
    depths: dict[str, list[int]] = field(default_factory=lambda: {queue: [] for queue in QUEUES})
    peak_memory_mb: dict[str, float] = field(default_factory=dict)
    visible_s: list[float] = field(default_factory=list)
    # Notifications that the watcher had accepted itself.
    accepted: int = 0


async def watch(
    broker_url: str, api_url: str, processes: Processes, posted: Posted, seen: Seen, ended: asyncio.Event
) -> None:
    """Sample until the load has ended, and finish what is begun: a POST given up here would be accepted uncounted."""
    began_s = perf_counter()
    async with httpx.AsyncClient(base_url=api_url, timeout=30) as api:
        while not ended.is_set():
            async with connected(broker_url, "benchmark watch") as connection:
                counts = await message_counts(connection, QUEUES)
            seen.times_s.append(perf_counter() - began_s)
            seen.cpu_s.append(sum(processes.cpu_s().values()))
            seen.posted.append(posted.accepted)
            for queue, count in counts.items():
                seen.depths[queue].append(count or 0)
            for name, memory_mb in processes.memory_mb().items():
                seen.peak_memory_mb[name] = max(memory_mb, seen.peak_memory_mb.get(name, 0.0))
            await _ask_for_one(api, seen)
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _INTERVAL_S)


async def _ask_for_one(api: httpx.AsyncClient, seen: Seen) -> None:
    body = {**_WATCHED.sandbox_request(0), "priority": "high"}
    answer = await api.post("/api/notifications", json=body)
    if answer.status_code != 201:
        return
    seen.accepted += 1
    began_s = perf_counter()
    path = f"/api/notifications/{answer.json()['data']['id']}"
    while (await api.get(path)).status_code != 200:
        if perf_counter() - began_s > 60:
            break
    seen.visible_s.append(perf_counter() - began_s)
