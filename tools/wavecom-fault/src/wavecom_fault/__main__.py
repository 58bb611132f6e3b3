"""`python -m wavecom_fault`: runs the fault matrix, prints the table, saves the figures; exit 1 if a promise broke."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console
from rich.table import Table
from wavecom_stack.errors import StackError

from wavecom_fault.matrix import Fault, strikes
from wavecom_fault.run import Result, run

FIGURES: Final = Path(".run/fault.json")

console = Console(width=120, highlight=False)


def main(
    seed: Annotated[int, typer.Option(help="Decides order, moments and lengths.")] = 1,
    count: Annotated[int | None, typer.Option(min=1, help="Only the first so many strikes.")] = None,
) -> None:
    """Kill, stop and cut off every process under load, and say what came of it."""
    planned = strikes(seed, count)
    console.print(f"{len(planned)} faults under a steady load of 40 notifications a second, seed {seed}")
    try:
        result = asyncio.run(run(seed, planned, (FIGURES.parent / "fault").resolve(), console.print))
    except StackError as error:
        console.print(f"[red]{error}")
        raise typer.Exit(1) from error
    FIGURES.write_bytes(orjson.dumps(result.as_json(), option=orjson.OPT_INDENT_2))
    console.print(table(result))
    for name, value in result.as_json().items():
        if isinstance(value, int):
            console.print(f"  {name:<32} {value}")
    console.print(f"Figures in {FIGURES}.")
    if not result.verdict.good or any(row.recovered_s is None for row in result.rows):
        console.print("[red]A promise was broken.[/] The logs are in .run/fault; the same seed does the same again.")
        raise typer.Exit(1)


def table(result: Result) -> Table:
    """Seconds to recover, by victim and fault."""
    made = Table("seconds to recover", *[fault.value for fault in Fault])
    for victim in sorted({row.victim for row in result.rows}):
        cells = {row.fault: "never" if row.recovered_s is None else f"{row.recovered_s:.1f}"
                 for row in result.rows if row.victim == victim}  # fmt: skip
        made.add_row(victim, *[cells.get(fault.value, "") for fault in Fault])
    return made


if __name__ == "__main__":
    typer.run(main)
