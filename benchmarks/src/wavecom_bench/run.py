"""One mode from start to figures: a fresh system, the yardstick, the load, the drain, the yardstick again."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from wavecom_common.testing.otlp import OtlpReceiver
from wavecom_stack.folder import RunFolder
from wavecom_stack.ports import free_ports
from wavecom_stack.stack import Stack
from wavecom_stack.state import State
from wavecom_stack.up import start

from wavecom_bench.bare_message import bare_message_ms
from wavecom_bench.load import Posted, post_all
from wavecom_bench.modes import Mode
from wavecom_bench.payloads import requests
from wavecom_bench.store import Ends, Store
from wavecom_bench.usage import Processes
from wavecom_bench.watch import Seen, watch

Say = Callable[[str], None]

_WARM_UP: Final = 300
_FEWEST_SAMPLES: Final = 2
# Nothing ended for so long: what is missing then is lost.
_STANDSTILL_S: Final = 60.0
# Each look counts the whole collection, which must not weigh in the figures.
_POLL_S: Final = 1.0


@dataclass(frozen=True)
class Measured:
    """The figures of one mode, as they are saved, and the samples for the plot."""

    figures: dict[str, Any]
    seen: Seen


def measure(mode: Mode, folder: Path, say: Say) -> Measured:
    """Run one mode on a system of its own.

    Raises:
        StackError: the system can't be started.
        ConnectionError: the API broke.
    """
    otlp = OtlpReceiver() if mode.trace_ratio is not None else None
    ports = free_ports()
    environment = {
        **os.environ,
        **mode.environment,
        "WAVECOM_HTTP_PORT": str(next(ports)),
        "WAVECOM_GRPC_PORT": str(next(ports)),
        "WAVECOM_LOG_LEVEL": "warning",
    }
    if otlp is not None:
        environment |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp.endpoint,
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": str(mode.trace_ratio),
        }
    if mode.per_s is not None:
        _calls_file(folder).unlink(missing_ok=True)
        environment["WAVECOM_SIMULATED_CALLS_FILE"] = str(_calls_file(folder))
    stack = Stack(RunFolder(folder), environment, lambda _: None)
    try:
        state = start(stack, lambda _: None)
        return asyncio.run(_measure(mode, state, folder, environment.get("WAVECOM_MONGODB_DATABASE", "wavecom"), say))
    finally:
        stack.stop()
        if otlp is not None:
            otlp.stop()


async def _measure(mode: Mode, state: State, folder: Path, database: str, say: Say) -> Measured:
    store = Store(state.mongodb_url, database)
    api = urlsplit(state.api_url)
    assert api.hostname is not None
    assert api.port is not None
    warm_up = Mode("warm-up", "", _WARM_UP)
    await post_all(api.hostname, api.port, requests(warm_up, api.hostname), 16)
    await _drained(store, _WARM_UP)
    processes, posted, seen = Processes(folder), Posted(), Seen()
    before_ms = await bare_message_ms(state.broker_url, processes)
    cpu_before = processes.cpu_s()
    ended = asyncio.Event()
    watching = asyncio.create_task(watch(state.broker_url, state.api_url, processes, posted, seen, ended))
    began_s = time.time()
    await post_all(api.hostname, api.port, requests(mode, api.hostname), mode.connections, posted, per_s=mode.per_s)
    say(f"  {posted.accepted} accepted in {posted.seconds:.1f} s; waiting for the last to be sent")
    ended.set()
    await watching
    accepted = posted.accepted + seen.accepted
    await _drained(store, _WARM_UP + accepted)
    cpu = {name: after - cpu_before[name] for name, after in processes.cpu_s().items()}
    after_ms = await bare_message_ms(state.broker_url, processes)
    ends = await asyncio.to_thread(store.ends)
    to_call_ms = await asyncio.to_thread(_to_call_ms, _calls_file(folder), store) if mode.per_s is not None else []
    store.close()
    figures = _figures(mode, posted, accepted, ends, began_s, cpu, (before_ms + after_ms) / 2, seen)
    figures["post_to_call_p50_ms"] = _quantile(to_call_ms, 0.50)
    figures["post_to_call_p99_ms"] = _quantile(to_call_ms, 0.99)
    return Measured(figures, seen)


async def _drained(store: Store, count: int) -> None:
    """Until that many notifications have an end, or nothing has ended for a while."""
    loop = asyncio.get_running_loop()
    last, moved_s = -1, loop.time()
    while (ended := await asyncio.to_thread(store.ended)) < count and loop.time() - moved_s < _STANDSTILL_S:
        if ended != last:
            last, moved_s = ended, loop.time()
        await asyncio.sleep(_POLL_S)  # noqa: TID251 - asks the database once a second


def _calls_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.calls")


def _to_call_ms(calls_file: Path, store: Store) -> Sequence[float]:
    """From a notification's acceptance to the call of its provider, for each call but those of the warm-up."""
    created_at_ms = store.created_at_ms()
    calls = [orjson.loads(line) for line in calls_file.read_bytes().splitlines()][_WARM_UP:]
    return sorted(call["atMs"] - created_at_ms[call["notificationId"]] for call in calls)


def _figures(
    mode: Mode,
    posted: Posted,
    accepted: int,
    ends: Ends,
    began_s: float,
    cpu_s: dict[str, float],
    bare_ms: float,
    seen: Seen,
) -> dict[str, Any]:
    cost_ms = sum(cpu_s.values()) / accepted * 1000
    latencies_ms = sorted(latency * 1000 for latency in posted.latencies_s)
    everything = sorted(time_s for times in ends.sent_after_s.values() for time_s in times)
    return {
        "what": mode.what,
        "accepted": accepted,
        "accepted_per_s": round(posted.accepted / posted.seconds, 1),
        "e2e_per_s": round(accepted / (ends.last_sent_at_s - began_s), 1),
        "cpu_ms_per_notification": round(cost_ms, 3),
        "cpu_ms_by_process": {name: round(used / accepted * 1000, 4) for name, used in sorted(cpu_s.items())},
        "cost_growth": growth(seen) if mode.per_post == 1 else None,
        "bare_message_ms": round(bare_ms, 3),
        "cost_in_bare_messages": round(cost_ms / bare_ms, 2),
        "post_p50_ms": _quantile(latencies_ms, 0.50),
        "post_p95_ms": _quantile(latencies_ms, 0.95),
        "post_p99_ms": _quantile(latencies_ms, 0.99),
        "sent_after_p50_s": _quantile(everything, 0.50),
        "sent_after_p99_s": _quantile(everything, 0.99),
        "sent_after_p99_high_s": _quantile(ends.sent_after_s.get("high", ()), 0.99),
        "sent_after_p99_s_by_priority": {
            priority: _quantile(times, 0.99) for priority, times in sorted(ends.sent_after_s.items())
        },
        "visible_after_p50_ms": _quantile(sorted(time_s * 1000 for time_s in seen.visible_s), 0.50),
        "visible_after_p99_ms": _quantile(sorted(time_s * 1000 for time_s in seen.visible_s), 0.99),
        "lost": _WARM_UP + accepted - ends.sent - ends.failed,
        "failed": ends.failed,
        "outcomes_unknown": ends.outcomes_unknown,
        "refused": posted.statuses.get(503, 0),
        "peak_memory_mb": {name: round(memory) for name, memory in sorted(seen.peak_memory_mb.items())},
        "peak_depth": {queue: max(depths, default=0) for queue, depths in seen.depths.items()},
    }


def growth(seen: Seen) -> float | None:
    """How many times as much a notification cost in the last fifth of the load as in the first; None for a short load.

    For loads that the system keeps up with: what is accepted in a second is what it works on.
    """
    fifth = len(seen.posted) // 5
    if fifth < _FEWEST_SAMPLES:
        return None
    first, last = (
        (seen.cpu_s[end] - seen.cpu_s[start]) / max(1, seen.posted[end] - seen.posted[start])
        for start, end in ((0, fifth), (-fifth - 1, -1))
    )
    return round(last / first, 2)


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3) if ordered else None
