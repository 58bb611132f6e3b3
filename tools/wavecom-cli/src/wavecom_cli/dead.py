"""`wavecom dead`: list, show, replay and drop dead letters."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from wavecom_common.events import routing
from wavecom_common.hosting.settings import Settings
from wavecom_common.messaging import dead_letters
from wavecom_common.messaging.dead_letters import Dead, Replayer
from wavecom_common.messaging.publisher import EventPublisher

from wavecom_cli.link import database
from wavecom_cli.replay import Counts, Replay

app = typer.Typer(no_args_is_help=True, help="Messages that could not be handled.")
_console = Console(soft_wrap=True)

Queue = Annotated[str, typer.Argument(help="The queue they came from, such as dispatcher.requested.")]
Reason = Annotated[str, typer.Option(help="Only those whose reason contains this.")]
Notification = Annotated[str, typer.Option(help="Only those of this notification.")]
Limit = Annotated[int, typer.Option(min=1, help="Look at this many at most.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")]


@app.command("list")
def list_() -> None:
    """How many there are, by queue."""
    found = asyncio.run(dead_letters.counts(_url()))
    table = Table("queue", "dead letters")
    for queue, count in found.items():
        table.add_row(queue, str(count))
    _console.print(table)


@app.command()
def show(queue: Queue, reason: Reason = "", notification: Notification = "", limit: Limit = 20) -> None:
    """What they are and why they are there; content and addresses are not shown."""
    _check(queue)
    reasons: Counter[str] = Counter()

    async def look(dead: Dead) -> bool:
        if _matches(dead, reason, notification):
            reasons[dead.reason] += 1
            _console.print(_line(dead), markup=False)
        return False

    asyncio.run(dead_letters.walk(_url(), queue, look, limit=limit))
    for text, count in reasons.most_common():
        _console.print(f"{count} x {text}", markup=False)


@app.command()
def replay(
    queue: Queue,
    reason: Reason = "",
    notification: Notification = "",
    limit: Limit = 10_000,
    rate: Annotated[float, typer.Option(min=0.1, help="Messages a second at most.")] = 50.0,
    drop_over: Annotated[
        bool, typer.Option("--drop-over", help="Drop those that are over for good, instead of leaving them.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Send them back to the queue they came from, once the cause is gone.

    A sender's that was given up gets a next attempt, beyond maxAttempts if need be, with the same dedup key; its status
    goes from failed to sent when it succeeds. Replayed twice it is sent once.

    The event store is asked first, so the database has to be there: what was sent meanwhile, ended otherwise, or was
    removed by retention, is not sent again and stays where it is. What is so old that the delivery ledger may have
    forgotten it is reported with DeliveryOutcomeUnknown before it is sent.

    Only those that are there when it begins: one that is refused again stays, until the next replay.
    """
    _check(queue)

    async def run() -> Counts:
        settings = Settings.load()
        async with database(settings) as link, _publisher() as publisher, _replayer(rate, dry_run) as replayer:
            replay = Replay(link, publisher, replayer, drop_over, _say)

            async def take(dead: Dead) -> bool:
                return _matches(dead, reason, notification) and await replay.take(dead)

            await dead_letters.walk(_url(), queue, take, limit=limit)
        return replay.counts

    would, counts = "would be " if dry_run else "", asyncio.run(run())
    _say(f"{counts.replayed} {would}replayed")
    if counts.unknown:
        _say(f"{counts.unknown} {would}reported as unknown first: older than the ledger's memory")
    if counts.over:
        _say(f"{counts.over} over, and {f'{would}dropped' if drop_over else 'left; --drop-over drops them'}")


@app.command()
def drop(
    queue: Queue,
    reason: Reason = "",
    notification: Notification = "",
    limit: Limit = 10_000,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Throw them away for good.

    A message may hold events of several notifications; it goes with --notification only if all are of that one.
    """
    _check(queue)

    async def away(_: Dead) -> bool:
        return True

    if not dry_run and not yes:
        typer.confirm(f"Drop dead letters of {queue} for good?", abort=True)
    count = asyncio.run(
        _take(queue, lambda dead: _matches_whole(dead, reason, notification), limit, None if dry_run else away)
    )
    _console.print(f"{count} {'would be ' if dry_run else ''}dropped")


@asynccontextmanager
async def _publisher() -> AsyncIterator[EventPublisher]:
    publisher = EventPublisher(_url(), name="wavecom dead replay", required_queues=[routing.PROJECTOR_QUEUE])
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.close()


@asynccontextmanager
async def _replayer(rate: float, dry_run: bool) -> AsyncIterator[Replayer | None]:
    if dry_run:
        yield None
        return
    async with dead_letters.replaying(_url(), per_second=rate) as replayer:
        yield replayer


def _say(line: str) -> None:
    _console.print(line, markup=False)


async def _take(
    queue: str, matches: Callable[[Dead], bool], limit: int, act: Callable[[Dead], Awaitable[bool]] | None
) -> int:
    """Act on those that match; without an act they are only counted."""
    matching = 0

    async def take(dead: Dead) -> bool:
        nonlocal matching
        if not matches(dead):
            return False
        matching += 1
        return act is not None and await act(dead)

    await dead_letters.walk(_url(), queue, take, limit=limit)
    return matching


def _matches(dead: Dead, reason: str, notification: str) -> bool:
    if reason not in dead.reason:
        return False
    return not notification or any(event.notification_id == notification for event in dead.events)


def _matches_whole(dead: Dead, reason: str, notification: str) -> bool:
    """As `_matches`, and nobody else's event is in it: the broker gives up messages, with all that they hold."""
    alone = all(event.notification_id == notification for event in dead.events)
    return _matches(dead, reason, notification) and (alone or not notification)


def _line(dead: Dead) -> str:
    at = datetime.fromtimestamp(dead.dead_at_ms / 1000, UTC).isoformat(timespec="seconds") if dead.dead_at_ms else "-"
    events = ", ".join(event.event_id for event in dead.events) or f"{len(dead.body)} bytes that cannot be read"
    return f"{at}  {events}  {dead.reason}"


def _check(queue: str) -> None:
    if queue not in dead_letters.queues():
        raise typer.BadParameter(f"{queue!r} is none of: {', '.join(dead_letters.queues())}")


def _url() -> str:
    return Settings.load().broker_url
