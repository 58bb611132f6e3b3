"""`python -m wavecom_fault`: runs the fault matrix, prints the table, saves the figures; exit 1 if a promise broke."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console
from rich.table import Table
from wavecom_stack.errors import StackError

from wavecom_fault.cluster_matrix import plans
from wavecom_fault.cluster_run import LIMIT_S, ClusterRow, longest_of_channels, run_cluster
from wavecom_fault.matrix import VICTIMS, Choice, Fault, kills, random_strikes, strikes
from wavecom_fault.run import PER_S, AnyRow, Enough, Result, Row, Struck, run, run_overlapping

FIGURES: Final = Path(".run/fault.json")

console = Console(width=120, highlight=False)


def main(
    seed: Annotated[int, typer.Option(help="Decides order, moments and lengths.")] = 1,
    count: Annotated[int | None, typer.Option(min=1, help="Only the first so many strikes.")] = None,
    notifications: Annotated[
        int | None, typer.Option(min=1, help="Kill everything again and again, until so many were accepted.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Then everything is killed at least so many times.")] = 3,
    chaos: Annotated[
        float | None, typer.Option(min=5, help="Strike after strike for so many seconds, without a wait between them.")
    ] = None,
    victim: Annotated[str | None, typer.Option(help=f"Only this one: {', '.join(VICTIMS)}.")] = None,
    fault: Annotated[Fault | None, typer.Option(help="Only this one.")] = None,
    hold: Annotated[float | None, typer.Option(min=0, help="How many seconds a SIGSTOP lasts.")] = None,
    cluster: Annotated[
        int | None, typer.Option(min=3, max=3, help="On so many servers of each kind, which are what is struck.")
    ] = None,
    rate: Annotated[float, typer.Option(min=1, max=1000, help="Notifications a second.")] = PER_S,
) -> None:
    """Kill, stop and cut off every process under load, and say what came of it."""
    if victim is not None and victim not in VICTIMS:
        raise typer.BadParameter(f"must be one of {', '.join(VICTIMS)}", param_hint="--victim")
    under_load = f"a steady load of {rate:g} notifications a second, seed {seed}"
    folder = (FIGURES.parent / "fault").resolve()
    if cluster is not None:
        console.print(f"Faults of a cluster of {cluster} brokers and {cluster} databases, under {under_load}")
        running = run_cluster(seed, plans(seed, count, hold_s=hold), folder, console.print, rate=rate)
    elif chaos is not None:
        console.print(f"Faults on top of each other for {chaos:g} s, under {under_load}")
        running = run_overlapping(seed, random_strikes(seed, chaos), folder, console.print, rate=rate)
    elif notifications is not None:
        console.print(f"SIGKILL for everything, {rounds} times or more, during {notifications} of {under_load}")
        will_do = enough(notifications, rounds)
        running = run(seed, kills(seed), folder, console.print, rate=rate, enough=will_do)
    else:
        console.print(f"Faults under {under_load}")
        planned = strikes(seed, count, Choice(victim, fault, hold))
        running = run(seed, planned, folder, console.print, rate=rate)
    try:
        result = asyncio.run(running)
    except StackError as error:
        console.print(f"[red]{error}")
        raise typer.Exit(1) from error
    FIGURES.write_bytes(orjson.dumps(result.as_json(), option=orjson.OPT_INDENT_2))
    console.print(table(result.rows))
    for name, value in result.as_json().items():
        if isinstance(value, int):
            console.print(f"  {name:<32} {value}")
    console.print(_end_told(result))
    console.print(f"Figures in {FIGURES}.")
    if not result.good:
        console.print("[red]A promise was broken.[/] The logs are in .run/fault; the same seed does the same again.")
        raise typer.Exit(1)


def enough(notifications: int, rounds: int) -> Enough:
    """Every victim struck so many times, in whole rounds, and so many notifications accepted."""

    def will_do(rows: int, accepted: int) -> bool:
        return rows % len(VICTIMS) == 0 and rows >= rounds * len(VICTIMS) and accepted >= notifications

    return will_do


def table(rows: Sequence[AnyRow]) -> Table:
    """Of a cluster how long nothing moved; else, by victim and fault, seconds to recover or how often it was struck."""
    of_cluster = [row for row in rows if isinstance(row, ClusterRow)]
    return cluster_table(of_cluster) if of_cluster else matrix_table([r for r in rows if isinstance(r, Row | Struck)])


def matrix_table(rows: Sequence[Row | Struck]) -> Table:
    """By victim and fault: seconds to recover, or how often it was struck when nobody waited for that."""
    timed = any(isinstance(row, Row) for row in rows)
    made = Table("seconds to recover" if timed else "times struck", *[fault.value for fault in Fault])
    for victim in sorted({row.victim for row in rows}):
        cells = [[row for row in rows if (row.victim, row.fault) == (victim, fault.value)] for fault in Fault]
        made.add_row(victim, *map(_cell, cells))
    return made


def cluster_table(rows: Sequence[ClusterRow]) -> Table:
    """By fault: the longest time without a 201, and without a call of each channel's provider, and the recovery."""
    names = list(longest_of_channels(rows[0].silent_s))
    made = Table("seconds without", *names, "recovered", "")
    for row in rows:
        silent = [f"{seconds:.1f}" for seconds in longest_of_channels(row.silent_s).values()]
        recovered = "never" if row.recovered_s is None else f"{row.recovered_s:.1f}"
        made.add_row(f"{row.fault}, {row.held_s:g} s", *silent, recovered, _remark(row))
    return made


def _remark(row: ClusterRow) -> str:
    if row.leaderless:
        return f"no leader: {', '.join(row.leaderless)}; see {row.evidence}"
    if not row.majority:
        return "no majority was alive"
    return "" if row.good else f"[red]more than {LIMIT_S:g} s, or not recovered"


def _cell(rows: Sequence[Row | Struck]) -> str:
    """Of several times, how many there were and the longest."""
    timed = [row for row in rows if isinstance(row, Row)]
    if not timed:
        return str(len(rows) or "")
    times_s = [row.recovered_s for row in timed if row.recovered_s is not None]
    longest = f"{max(times_s):.1f}" if len(times_s) == len(timed) else "never"
    return longest if len(timed) == 1 else f"{len(timed)} times, {longest} at most"


def _end_told(result: Result) -> str:
    if result.recovered_s is None:
        return "[red]At the end not everything recovered in time.[/]"
    return f"Everything had recovered {result.recovered_s:.1f} s after strikes and load had ended."


if __name__ == "__main__":
    typer.run(main)
