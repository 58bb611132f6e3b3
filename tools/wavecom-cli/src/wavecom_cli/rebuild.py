"""`wavecom rebuild`: the read model anew from the event store, while the system runs."""

import asyncio
from time import perf_counter
from typing import Annotated

import typer
from rich.console import Console
from status_projector.model.live_model import UNREAD_AFTER_S
from status_projector.model.pointer import Phase, Pointer, Pointers
from status_projector.recovery.checker import SETTLE_S
from status_projector.recovery.rebuild import Rebuild, Rebuilt
from status_projector.store.event_store import EventStore
from status_projector.store.maintenance import Maintenance
from wavecom_common.hosting.settings import Settings
from wavecom_common.kernel.ids import new_owner

from wavecom_cli.check import SettleS, lines
from wavecom_cli.link import database
from wavecom_cli.progress import progress

_console = Console(soft_wrap=True, highlight=False)

_SPARE = {
    Phase.NONE: "nothing beside it",
    Phase.BUILDING: "{0.spare} is being rebuilt, up to notification {0.built_up_to}; `wavecom rebuild` goes on with it",
    Phase.KEPT: "{0.spare} is kept up to date for a rollback, until `wavecom rebuild --drop`",
    Phase.RETURNING: "a rollback to {0.spare} was begun; `wavecom rebuild --rollback` ends it",
    Phase.DROPPING: "{0.spare} was being dropped; `wavecom rebuild --drop` ends it",
}


def rebuild(
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the read model before.")] = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Drop the collection that is not live: kept, or a rebuild's.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Say which collections there are; do nothing.")] = False,
    settle_s: SettleS = SETTLE_S,
) -> None:
    """Fold the event store into a new read model, compare it with the store, and move readers to it.

    The system runs meanwhile; every projector has to be of this version. Interrupted at any point, the same command
    goes on from there. Exit status 1, and readers stay where they are, if the new model is not what the store says.
    """
    if rollback + drop + status > 1:
        raise typer.BadParameter("one of --rollback, --drop and --status at a time")
    if status:
        pointer = asyncio.run(_status())
        _say(f"live: {pointer.live}; {_SPARE[pointer.phase].format(pointer)}")
    elif rollback:
        _say(f"live: {asyncio.run(_rollback())}; what was live is kept")
    elif drop:
        _say(f"waiting {UNREAD_AFTER_S:.0f} s, so that nobody reads it any more ...")
        _say(f"dropped {asyncio.run(_drop())}")
    else:
        _rebuild(settle_s)


def _rebuild(settle_s: float) -> None:
    began_s = perf_counter()
    rebuilt = asyncio.run(_run(settle_s))
    seconds = perf_counter() - began_s
    went_on = "went on and " if rebuilt.resumed else ""
    _say(f"{went_on}folded {rebuilt.events:,} events in {seconds:.1f} s, comparing included")
    for line in lines(rebuilt.report, seconds):
        _say(line)
    if rebuilt.report.differing:
        _say(f"live: {rebuilt.live}, as before. `wavecom rebuild` compares again, `wavecom rebuild --drop` gives up.")
        raise typer.Exit(1)
    _say(f"live: {rebuilt.live}. The one before is kept for `wavecom rebuild --rollback`, until `--drop`.")


async def _run(settle_s: float) -> Rebuilt:
    async with database(Settings.load()) as link:
        with progress("folding", await EventStore(link).estimated_count()) as told:
            # No history is removed between its being read and its being written.
            async with Maintenance(link).alone(new_owner("wavecom rebuild")):
                return await Rebuild(link, told=lambda step, events: told(events, step), settle_s=settle_s).run()


async def _rollback() -> str:
    async with database(Settings.load()) as link:
        return await Rebuild(link).rollback()


async def _drop() -> str:
    async with database(Settings.load()) as link:
        return await Rebuild(link).drop()


async def _status() -> Pointer:
    async with database(Settings.load()) as link:
        return await Pointers(link).read()


def _say(line: str) -> None:
    _console.print(line, markup=False)
