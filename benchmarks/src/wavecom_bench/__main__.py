"""`python -m wavecom_bench`: measures the modes one after the other, prints the figures and saves them."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console
from wavecom_stack.errors import StackError

from wavecom_bench import listing, report
from wavecom_bench.modes import MODES, chosen
from wavecom_bench.run import measure

FIGURES: Final = Path(".run/bench.json")

# Wide enough for the table also where the output is no terminal.
console = Console(width=160)


def main(
    modes: Annotated[list[str] | None, typer.Argument(help="Which modes; all when none is named.")] = None,
    scale: Annotated[float, typer.Option(help="Multiplies every load.", min=0.001)] = 1.0,
) -> None:
    """Measure how fast the system is on this machine."""
    selected = chosen(modes or ())
    with_list = listing.NAME in (modes or ())
    if not selected and not with_list:
        console.print(f"No such mode; there are: {', '.join([*(mode.name for mode in MODES), listing.NAME])}")
        raise typer.Exit(2)
    earlier = orjson.loads(FIGURES.read_bytes())["modes"] if FIGURES.exists() else {}
    folder = FIGURES.parent / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    measured = {}
    for mode in selected:
        sized = replace(mode, notifications=max(100, round(mode.notifications * scale)))
        console.print(f"[bold]{mode.name}[/]: {sized.notifications} notifications, {mode.what}")
        try:
            result = measure(sized, (folder / mode.name).resolve(), console.print)
        except (StackError, ConnectionError) as error:
            console.print(f"[red]{mode.name} could not be measured:[/] {error}")
            raise typer.Exit(1) from error
        measured[mode.name] = result.figures
        report.plot(mode.name, result.seen, folder / f"{mode.name}.png")
    if with_list:
        lists = listing.measure(round(listing.NOTIFICATIONS * scale), (folder / listing.NAME).resolve(), console.print)
        console.print(listing.table(lists))
        earlier[listing.NAME] = lists
    FIGURES.write_bytes(orjson.dumps({"modes": earlier | measured}, option=orjson.OPT_INDENT_2))
    if measured:
        console.print(report.table(measured, earlier), report.cpu_table(measured))
    console.print(f"Figures in {FIGURES}, plots in {folder}. One run's figures can only be compared with one another;")
    console.print(
        "'bare messages' is the one to compare between runs: CPU by that of one confirmed message, measured beside."
    )


if __name__ == "__main__":
    typer.run(main)
