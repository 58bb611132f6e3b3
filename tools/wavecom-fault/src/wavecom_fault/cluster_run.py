"""The faults of a cluster from the first to the verdict, with how long nothing was accepted or sent in each."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from wavecom_common.events import routing
from wavecom_common.kernel.clock import SYSTEM_CLOCK

from wavecom_fault.client import SteadyLoad
from wavecom_fault.cluster import Cluster
from wavecom_fault.cluster_matrix import Plan
from wavecom_fault.cluster_start import Shape, running
from wavecom_fault.evidence import Evidence, take
from wavecom_fault.judge import Judge
from wavecom_fault.run import Result, end, recovered
from wavecom_fault.silences import ACCEPTED, Silences

# What is promised wherever a majority is alive.
LIMIT_S: Final = 20.0
CLIENTS: Final = 16
KEYED: Final = 0.5
WHOLE: Final = Shape()
# What waits for a retry, by the settings of `system`.
WAITS: Final = [routing.retry_name(delay_ms) for delay_ms in (1_000, 2_000, 4_000)]
_RECOVERY_S: Final = 180.0
# So long nothing moves before the broker is asked why.
_ASK_AFTER_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """What one fault did.

    Attributes:
        victims: the servers that were hit.
        silent_s: the longest time without a 201, and without a provider call for each sender's queue, from the fault
            until all had recovered.
        unexcused_s: the same, counted anew from each look that found a queue without a leader that it needs.
        recovered_s: from the fault's end until every server and process was ready and all accepted so far had ended;
            None when that took too long.
        leaderless: the queues that by the broker's own commands had no leader at such a look.
        evidence: the file with those commands' answers.
        network_stalled_s: how long the network between the servers, which this program plays, stood still by itself.
    """

    fault: str
    victims: Sequence[str]
    held_s: float
    majority: bool
    accepted: int
    client_repeats: int
    silent_s: Mapping[str, float]
    unexcused_s: Mapping[str, float]
    recovered_s: float | None
    leaderless: Sequence[str]
    evidence: str | None
    network_stalled_s: float

    @property
    def good(self) -> bool:
        """Whether it recovered, and was not silent for longer than is promised while its queues had leaders."""
        quick = max(self.unexcused_s.values(), default=0) <= LIMIT_S
        return self.recovered_s is not None and (quick or not self.majority)


async def run_cluster(
    seed: int,
    plans: Iterable[Plan],
    folder: Path,
    say: Callable[[str], None],
    *,
    rate: float,
    shape: Shape = WHOLE,
) -> Result:
    """Fault after fault under `rate` notifications a second, half of them with a key; then judge.

    Raises:
        StackError: the system can't be started, or there was nothing to strike.
    """
    async with _under_load(folder, say, rate, shape) as (cluster, load, judge):
        rows: list[ClusterRow] = []
        for plan in plans:
            rows.append(await _row(cluster, load, judge, plan, folder / f"evidence-{len(rows) + 1}.txt"))
            say(f"  {len(rows)}: {told(rows[-1])}, {len(load.accepted.ids)} in all")
        recovered_s, verdict = await end(cluster, load, judge, _RECOVERY_S)
    return Result(seed, verdict, recovered_s, rows)


@asynccontextmanager
async def _under_load(
    folder: Path, say: Callable[[str], None], rate: float, shape: Shape
) -> AsyncIterator[tuple[Cluster, SteadyLoad, Judge]]:
    async with running(folder, say, shape) as cluster:
        api = urlsplit(cluster.state.api_url)
        assert api.hostname is not None
        assert api.port is not None
        judge = Judge(cluster.infra.mongodb_url, shape.database)
        load = SteadyLoad(api.hostname, api.port, per_s=rate, clients=CLIENTS, copies=shape.copies, keyed=KEYED)
        load.start()
        yield cluster, load, judge
        # It says goodbye to the databases, through the network of this loop.
        await asyncio.to_thread(judge.close)


async def _row(cluster: Cluster, load: SteadyLoad, judge: Judge, plan: Plan, file: Path) -> ClusterRow:
    accepted, repeats = len(load.accepted.ids), load.accepted.repeats
    await asyncio.sleep(plan.after_s)  # noqa: TID251 - undisturbed load
    silences = Silences(load.accepted, cluster.calls_file)
    began_ms = SYSTEM_CLOCK.now_ms()
    cluster.network_stalled_s = 0.0
    over = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(_ask_when_silent(cluster, silences, began_ms, over, file))
        victims = await cluster.strike(plan)
        recovered_s = await recovered(cluster, judge, load.accepted.ids[accepted:], _RECOVERY_S)
        ended_ms = SYSTEM_CLOCK.now_ms()
        over.set()
        if recovered_s is None:
            await take(cluster.alive(), WAITS, file)
    looks = asking.result()
    silent_s = silences.longest_s(began_ms, ended_ms)
    unexcused_s = silences.longest_s(began_ms, ended_ms, excused_ms(looks, list(silent_s)))
    return ClusterRow(
        fault=plan.blow.value,
        victims=victims,
        held_s=plan.hold_s,
        majority=plan.blow.majority,
        accepted=len(load.accepted.ids) - accepted,
        client_repeats=load.accepted.repeats - repeats,
        silent_s={name: round(seconds, 1) for name, seconds in silent_s.items()},
        unexcused_s={name: round(seconds, 1) for name, seconds in unexcused_s.items()},
        recovered_s=recovered_s,
        leaderless=sorted({queue for look in looks for queue in look.leaderless}),
        evidence=str(file) if looks else None,
        network_stalled_s=round(cluster.network_stalled_s, 2),
    )


async def _ask_when_silent(
    cluster: Cluster, silences: Silences, began_ms: int, over: asyncio.Event, file: Path
) -> Sequence[Evidence]:
    """The broker's own words, again and again while something is silent for long, until it is over."""
    looks: list[Evidence] = []
    while not over.is_set():
        await asyncio.sleep(1)  # noqa: TID251 - looks once a second
        silent_s = silences.current_s(began_ms, SYSTEM_CLOCK.now_ms())
        silent = [name for name, seconds in silent_s.items() if seconds > _ASK_AFTER_S]
        if silent:
            looks.append(await take(cluster.alive(), sorted({q for name in silent for q in queues_behind(name)}), file))
    return looks


def queues_behind(name: str) -> Sequence[str]:
    """The queues that have to move for what is silent: `201`, or a sender's queue."""
    return [routing.DISPATCHER_QUEUE, routing.PROJECTOR_QUEUE, *([name] if name != ACCEPTED else [])]


def excused_ms(looks: Sequence[Evidence], names: Sequence[str]) -> Mapping[str, Sequence[int]]:
    """When each name could not move, since a queue it needs had no leader."""
    return {name: [look.at_ms for look in looks if {*queues_behind(name)} & {*look.leaderless}] for name in names}


def longest_of_channels(silent_s: Mapping[str, float]) -> Mapping[str, float]:
    """`201`, and of each channel the queue that was silent for longest."""
    longest: dict[str, float] = {}
    for name, seconds in silent_s.items():
        shown = name.partition("-sender.")[0]
        longest[shown] = max(seconds, longest.get(shown, 0.0))
    return longest


def told(row: ClusterRow) -> str:
    """One line about it."""
    silent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in longest_of_channels(row.silent_s).items())
    after = "not recovered in time" if row.recovered_s is None else f"recovered after {row.recovered_s:.1f} s"
    return f"{row.fault} ({', '.join(row.victims)}): {row.accepted} accepted, silent at most {silent}, {after}"
