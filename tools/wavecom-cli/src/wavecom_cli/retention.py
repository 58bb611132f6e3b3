"""`wavecom retention`: removing now what its projector removes by and by, or saying what that would be."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console
from status_projector import bootstrap
from status_projector.bootstrap import periods
from status_projector.retention.policy import Verdict
from status_projector.settings import ProjectorSettings
from status_projector.store.event_store import EventStore
from wavecom_common.kernel.ids import new_owner

from wavecom_cli.link import database
from wavecom_cli.progress import progress

_console = Console(soft_wrap=True, highlight=False)


def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed; do nothing.")] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Come by everything again, also what was passed by before.")
    ] = False,
) -> None:
    """Remove notifications whose time is over, by WAVECOM_RETENTION_SENT_DAYS and WAVECOM_RETENTION_FAILED_DAYS.

    The projector does this by itself, at its leisure; the two take turns, and `wavecom rebuild` and `wavecom recover`
    are waited for. What has no end is never removed. Nothing is while events wait to be stored: exit status 1 then.
    """
    settings = ProjectorSettings.load()
    for line in asyncio.run(_due(settings) if dry_run else _run(settings, anew)):
        _console.print(line, markup=False)


async def _run(settings: ProjectorSettings, anew: bool) -> list[str]:
    async with database(settings) as link:
        retention = bootstrap.retention(link, settings, owner=new_owner("wavecom retention"), rest=0)
        if anew:
            await retention.begin_anew()
        return lines(await retention.run(waits=True))


async def _due(settings: ProjectorSettings) -> list[str]:
    due: dict[str, Counter[str]] = {status: Counter() for status in periods(settings).by_status}
    async with database(settings) as link:
        with progress("looking", await EventStore(link).estimated_count()) as told:
            async for status, verdicts in bootstrap.retention(link, settings, owner="").due():
                due[status].update(verdicts)
                told(sum(counted.total() for counted in due.values()))
    if not due:
        return ["notifications are kept for ever"]
    return [
        f"{status}: {counted[Verdict.REMOVE.value]:,} would be removed, {counted[Verdict.LATER.value]:,} ended lately"
        for status, counted in due.items()
    ]


def lines(removed: Mapping[str, int]) -> list[str]:
    """What there is to say about a removal."""
    return [f"removed: {', '.join(f'{count:,} {kind}' for kind, count in sorted(removed.items())) or 'nothing'}"]
