"""The matrix from the first strike to the verdict."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pymongo.errors import PyMongoError

from wavecom_fault.client import SteadyLoad
from wavecom_fault.judge import Judge, Verdict
from wavecom_fault.matrix import Strike
from wavecom_fault.system import System, running

PER_S: Final = 40.0
CLIENTS: Final = 8
# Longer than any single fault may need: heartbeats, leases, a server's start, the retries of what it hit.
_RECOVERY_S: Final = 120.0
_POLL_S: Final = 0.25

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


@dataclass(frozen=True, slots=True)
class Result:
    """A whole run."""

    seed: int
    verdict: Verdict
    rows: Sequence[Row]

    def as_json(self) -> dict[str, Any]:
        """The form it is saved in."""
        return {"seed": self.seed, **asdict(self.verdict), "rows": [asdict(row) for row in self.rows]}


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
        StackError: the system can't be started, or its servers are not ours to kill.
    """
    async with running(folder) as system:
        api = urlsplit(system.state.api_url)
        assert api.hostname is not None
        assert api.port is not None
        judge = Judge(system.infra.mongodb_url)
        load = SteadyLoad(api.hostname, api.port, per_s=rate, clients=CLIENTS)
        load.start()
        rows = []
        for strike in strikes:
            rows.append(await _row(system, load, judge, strike))
            say(f"  {len(rows)}: {_told(rows[-1])}, {len(load.accepted.ids)} in all")
            if enough(len(rows), len(load.accepted.ids)):
                break
        unanswered = await load.stop(_RECOVERY_S)
        await _recovered(system, judge, load.accepted.ids)
        left_over = await _left_over(system)
        verdict = await judge.verdict(load.accepted.ids, system.calls_file, left_over=left_over, unanswered=unanswered)
        judge.close()
    return Result(seed, verdict, rows)


async def _row(system: System, load: SteadyLoad, judge: Judge, strike: Strike) -> Row:
    accepted, repeats = len(load.accepted.ids), load.accepted.repeats
    await asyncio.sleep(strike.after_s)  # noqa: TID251 - undisturbed load
    called = system.calls()
    await system.strike(strike)
    called = system.calls() - called
    recovered_s = await _recovered(system, judge, load.accepted.ids[accepted:], strike.hold_s)
    return Row(
        victim=strike.victim,
        fault=strike.fault.value,
        accepted=len(load.accepted.ids) - accepted,
        called=called,
        client_repeats=load.accepted.repeats - repeats,
        recovered_s=recovered_s,
    )


async def _recovered(system: System, judge: Judge, ids: Sequence[str], held_s: float = 0) -> float | None:
    """Seconds until every process is ready and those notifications have their end; None if that takes too long.

    What piled up while something was held takes its time on top.
    """
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while loop.time() - began_s < _RECOVERY_S + held_s:
        if not await system.not_ready() and await _all_ended(judge, ids):
            return round(loop.time() - began_s, 2)
        await asyncio.sleep(_POLL_S)  # noqa: TID251 - asks the processes four times a second
    return None


async def _left_over(system: System) -> int:
    """Messages that are still there when everything has had time to be dealt with."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while True:
        left = await system.messages()
        if left == 0 or loop.time() - began_s > _RECOVERY_S:
            return left
        await asyncio.sleep(1)  # noqa: TID251 - the broker counts every few seconds


async def _all_ended(judge: Judge, ids: Sequence[str]) -> bool:
    try:
        return await asyncio.to_thread(judge.open, ids) == 0
    except PyMongoError:
        return False


def _told(row: Row) -> str:
    after = "not recovered in time" if row.recovered_s is None else f"recovered after {row.recovered_s:.1f} s"
    return f"{row.victim} {row.fault}: {row.accepted} accepted, {row.called} provider calls meanwhile, {after}"
