"""`wavecom check`: is the read model what the event store says it is?"""

import asyncio
from datetime import UTC, datetime
from time import perf_counter
from typing import Annotated

import typer
from rich.console import Console
from status_projector.model.pointer import Pointers
from status_projector.model.read_model import ReadModel
from status_projector.recovery.checker import SETTLE_S, Checker, Report
from status_projector.store.event_store import EventStore
from wavecom_common.hosting.settings import Settings
from wavecom_common.kernel.clock import SYSTEM_CLOCK

from wavecom_cli.link import database
from wavecom_cli.progress import progress

SettleS = Annotated[float, typer.Option(min=0, help="Look again for so long at what differs while the system runs.")]

_console = Console(soft_wrap=True, highlight=False)


def check(
    settle_s: SettleS = SETTLE_S,
    show: Annotated[int, typer.Option(min=0, help="Show this many differences at most.")] = 100,
) -> None:
    """Compare the whole read model with the fold of the event store; exit status 1 if they differ anywhere.

    The system may run meanwhile. Notifications without an end are counted apart: they are no difference.
    """
    began_s = perf_counter()
    report = asyncio.run(_run(settle_s, show))
    for line in lines(report, perf_counter() - began_s):
        _console.print(line, markup=False)
    if report.differing:
        raise typer.Exit(1)


def lines(report: Report, seconds: float) -> list[str]:
    """What there is to say about a check."""
    said = [f"checked {report.events:,} events of {report.notifications:,} notifications in {seconds:.1f} s"]
    said += [f"  {found.notification_id}  {', '.join(found.fields)}" for found in report.differences]
    if hidden := report.differing - len(report.differences):
        said.append(f"  and {hidden:,} more")
    said.append(f"differences: {report.differing:,}" if report.differing else "differences: none")
    if report.oldest_open_ms is None:
        return [*said, "without an end: none"]
    accepted = datetime.fromtimestamp(report.oldest_open_ms / 1000, UTC).isoformat(timespec="seconds")
    age_s = max(0, SYSTEM_CLOCK.now_ms() - report.oldest_open_ms) // 1000
    oldest = f"the oldest is {report.oldest_open_id}, accepted at {accepted}, {age_s:,} s ago"
    return [*said, f"without an end: {report.open:,}; {oldest}"]


async def _run(settle_s: float, show: int) -> Report:
    async with database(Settings.load()) as link:
        store = EventStore(link)
        with progress("checking", await store.estimated_count()) as told:
            checker = Checker(
                store,
                ReadModel(link, (await Pointers(link).read()).live),
                told=lambda events, _: told(events),
                settle_s=settle_s,
                most_differences=show,
            )
            return await checker.run()
