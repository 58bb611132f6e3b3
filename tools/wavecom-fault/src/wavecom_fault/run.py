"""The matrix from the first strike to the verdict."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, cast
from urllib.parse import urlsplit

from pymongo.errors import PyMongoError
from wavecom_stack.errors import StackError

from wavecom_fault.client import SteadyLoad
from wavecom_fault.judge import Judge, Verdict
from wavecom_fault.matrix import Fault, Strike
from wavecom_fault.system import Missed, System, Watched, running

PER_S: Final = 40.0
CLIENTS: Final = 8
# Longer than any single fault may need: heartbeats, leases, a server's start, the retries of what it hit.
_RECOVERY_S: Final = 120.0
# After faults on top of each other, for all that piled up.
_CHAOS_RECOVERY_S: Final = 180.0
_POLL_S: Final = 0.25


class AnyRow(Protocol):
    """What came of one strike."""

    @property
    def good(self) -> bool:
        """Whether it recovered in time and kept what is promised of it by itself; the rest is the verdict's."""


# Whether so many strikes and so many notifications accepted will do.
Enough = Callable[[int, int], bool]


@dataclass(frozen=True, slots=True)
class Row:
    """What one strike did.

    `called`: provider calls while it lasted. `recovered_s`: from its end until every process was ready and all accepted
    so far had ended; None when that took two minutes longer than the strike.
    """

    victim: str
    fault: str
    accepted: int
    called: int
    client_repeats: int
    recovered_s: float | None

    @property
    def good(self) -> bool:
        """Whether it recovered in time."""
        return self.recovered_s is not None


@dataclass(frozen=True, slots=True)
class Struck:
    """One strike among others, `at_s` after the first moment; what became of it shows only at the end."""

    victim: str
    fault: str
    at_s: float
    held_s: float
    good: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Result:
    """A whole run.

    `recovered_s`: from the end of strikes and load until every process was ready and all accepted had ended; None when
    that took too long.
    """

    seed: int
    verdict: Verdict
    recovered_s: float | None
    rows: Sequence[AnyRow]

    @property
    def good(self) -> bool:
        """Whether every promise was kept, and everything recovered in time."""
        return self.verdict.good and self.recovered_s is not None and all(row.good for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """The form it is saved in."""
        return {
            "seed": self.seed,
            **asdict(self.verdict),
            "recovered_s": self.recovered_s,
            "rows": [asdict(cast(Any, row)) for row in self.rows],
        }


async def run(
    seed: int,
    strikes: Iterable[Strike],
    folder: Path,
    say: Callable[[str], None],
    *,
    rate: float = PER_S,
    enough: Enough = lambda rows, accepted: False,
) -> Result:
    """Strike after strike, until there are no more or it is `enough`, under `rate` notifications a second; then judge.

    Raises:
        StackError: the system can't be started, its servers are not ours to kill, or there was nothing to strike.
    """
    async with _under_load(folder, rate) as (system, load, judge):
        rows = []
        for strike in strikes:
            rows.append(await _row(system, load, judge, strike))
            say(f"  {len(rows)}: {_told(rows[-1])}, {len(load.accepted.ids)} in all")
            if enough(len(rows), len(load.accepted.ids)):
                break
        recovered_s, verdict = await end(system, load, judge, _RECOVERY_S)
    return Result(seed, verdict, recovered_s, rows)


async def run_overlapping(
    seed: int, strikes: Iterable[Strike], folder: Path, say: Callable[[str], None], *, rate: float = PER_S
) -> Result:
    """Every strike when its time has come, whatever became of those before; then wait for the recovery, and judge.

    A victim that does not run at that moment, stands still or has no link to cut is passed over.

    Raises:
        StackError: the system can't be started, or its servers are not ours to kill.
    """
    async with _under_load(folder, rate) as (system, load, judge):
        rows: list[Struck] = []
        loop = asyncio.get_running_loop()
        began_s = loop.time()

        async def hit(strike: Strike) -> None:
            held_s = strike.hold_s if strike.fault is Fault.STOP else 0
            row = Struck(strike.victim, strike.fault.value, round(loop.time() - began_s, 2), held_s)
            try:
                await system.strike(strike)
            except Missed as missed:
                say(f"  {row.at_s:.0f} s: {row.fault} passed over: {missed}")
            else:
                rows.append(row)
                say(f"  {row.at_s:.0f} s: {row.victim} {row.fault}, {len(load.accepted.ids)} accepted in all")

        try:
            async with asyncio.TaskGroup() as hits:
                for strike in strikes:
                    await asyncio.sleep(strike.after_s)  # noqa: TID251 - the moment is the plan's
                    hits.create_task(hit(strike))
        except* StackError as errors:
            raise errors.exceptions[0] from None
        recovered_s, verdict = await end(system, load, judge, _CHAOS_RECOVERY_S)
    rows.sort(key=lambda row: row.at_s)
    return Result(seed, verdict, recovered_s, rows)


@asynccontextmanager
async def _under_load(folder: Path, rate: float) -> AsyncIterator[tuple[System, SteadyLoad, Judge]]:
    async with running(folder) as system:
        api = urlsplit(system.state.api_url)
        assert api.hostname is not None
        assert api.port is not None
        judge = Judge(system.infra.mongodb_url)
        load = SteadyLoad(api.hostname, api.port, per_s=rate, clients=CLIENTS)
        load.start()
        yield system, load, judge
        judge.close()


async def end(system: Watched, load: SteadyLoad, judge: Judge, within_s: float) -> tuple[float | None, Verdict]:
    """Stop the load and judge once everything has recovered; how long that took."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    unanswered = await load.stop(within_s)
    ids = load.accepted.ids
    took_s = await recovered(system, judge, ids, began_s + within_s - loop.time())
    recovered_s = None if took_s is None else round(loop.time() - began_s, 2)
    left_over = await _left_over(system)
    verdict = await judge.verdict(
        ids,
        system.calls_file,
        left_over=left_over,
        unanswered=unanswered,
        refused=load.accepted.refused,
        in_doubt=load.accepted.in_doubt,
    )
    return recovered_s, verdict


async def _row(system: System, load: SteadyLoad, judge: Judge, strike: Strike) -> Row:
    accepted, repeats = len(load.accepted.ids), load.accepted.repeats
    await asyncio.sleep(strike.after_s)  # noqa: TID251 - undisturbed load
    called = system.calls()
    await system.strike(strike)
    called = system.calls() - called
    # What piled up while something was held takes its time on top.
    recovered_s = await recovered(system, judge, load.accepted.ids[accepted:], _RECOVERY_S + strike.hold_s)
    return Row(
        victim=strike.victim,
        fault=strike.fault.value,
        accepted=len(load.accepted.ids) - accepted,
        called=called,
        client_repeats=load.accepted.repeats - repeats,
        recovered_s=recovered_s,
    )


async def recovered(system: Watched, judge: Judge, ids: Sequence[str], within_s: float) -> float | None:
    """Seconds until every process is ready and those notifications have their end; None if that takes too long."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while loop.time() - began_s < within_s:
        if not await system.not_ready() and await _all_ended(judge, ids):
            return round(loop.time() - began_s, 2)
        await asyncio.sleep(_POLL_S)  # noqa: TID251 - asks the processes four times a second
    return None


async def _left_over(system: Watched) -> int:
    """Messages that are still there when everything has had time to be dealt with.

    Nothing is there when two looks in a row say so: a queue whose leader is busy is shown as empty for a moment.
    """
    loop = asyncio.get_running_loop()
    began_s, empty = loop.time(), 0
    while True:
        left = await system.messages()
        empty = empty + 1 if left == 0 else 0
        if empty == 2 or (left and loop.time() - began_s > _RECOVERY_S):
            return left
        await asyncio.sleep(1)  # noqa: TID251 - the broker counts every few seconds


async def _all_ended(judge: Judge, ids: Sequence[str]) -> bool:
    try:
        return await asyncio.to_thread(judge.open, ids) == 0
    except PyMongoError:
        return False


def _told(row: Row) -> str:
    after = "not recovered in time" if row.recovered_s is None else f"recovered after {row.recovered_s:.1f} s"
    meanwhile = f"{row.called} provider calls meanwhile, " if row.fault == Fault.STOP.value else ""
    return f"{row.victim} {row.fault}: {row.accepted} accepted, {meanwhile}{after}"
