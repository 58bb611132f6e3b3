"""`wavecom recover`: after the broker lost its data, everything without an end goes on."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from status_projector.recovery.recover import Recovered, Recovery, require_queues
from status_projector.store.event_store import EventStore
from status_projector.store.maintenance import Maintenance
from wavecom_common.hosting.settings import Settings
from wavecom_common.kernel.ids import first_id_of, new_owner
from wavecom_common.messaging.publisher import EventPublisher

from wavecom_cli.link import database
from wavecom_cli.progress import progress

_console = Console(soft_wrap=True, highlight=False)
_SHOWN = 20


def recover(
    rate: Annotated[float, typer.Option(min=1, help="Notifications a second at most.")] = 500.0,
    since: Annotated[
        datetime | None, typer.Option(help="Only what was accepted since then (UTC), to look through less.")
    ] = None,
    give_up: Annotated[
        bool, typer.Option("--give-up", help="End those as failed whose request was lost: nothing can be delivered.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")] = False,
) -> None:
    """Send again, out of the event store, what every notification without an end waits for.

    After a total loss of the broker's data: start it empty, run `wavecom topology apply`, then this. It declares
    nothing itself. The services may run; where nothing was lost it does no harm, for the delivery ledger knows what
    was done. It can't bring back what was accepted and not yet stored when the broker was lost: the projector's lag.
    """
    recovered = asyncio.run(_run(rate, since, give_up, dry_run))
    for line in lines(recovered, give_up=give_up, dry_run=dry_run):
        _console.print(line, markup=False)


def lines(recovered: Recovered, *, give_up: bool, dry_run: bool) -> list[str]:
    """What there is to say about a recovery."""
    would = "would be " if dry_run else ""
    said = [f"looked at {recovered.events:,} events of {recovered.notifications:,} notifications"]
    said.append(f"{would}sent again: {recovered.sent.total():,}")
    said += [f"  {kind}: {count:,}" for kind, count in sorted(recovered.sent.items())]
    said.append(f"{would}brought up to the store in the read model: {recovered.repaired:,}")
    if recovered.lost:
        done = f"{would}ended as failed" if give_up else "left as they are; --give-up ends them as failed"
        said.append(f"without their request: {len(recovered.lost):,}, {done}")
        said += [f"  {notification_id}" for notification_id in recovered.lost[:_SHOWN]]
    return said


async def _run(rate: float, since: datetime | None, give_up: bool, dry_run: bool) -> Recovered:
    settings = Settings.load()
    url = settings.broker_url
    await require_queues(url, settings.broker_delays_ms)
    publisher = EventPublisher(url, name="wavecom recover", required_queues=[])
    await publisher.start()
    try:
        async with database(settings) as link:
            with progress("recovering", await EventStore(link).estimated_count()) as told:
                recovery = Recovery(
                    link,
                    publisher,
                    delays_ms=settings.broker_delays_ms,
                    max_events=settings.batch_max_events,
                    per_second=rate,
                    give_up=give_up,
                    dry_run=dry_run,
                    told=told,
                )
                # No history is removed between its being read and its being written.
                async with Maintenance(link).alone(new_owner("wavecom recover")):
                    return await recovery.run(after=None if since is None else _before(since))
    finally:
        await publisher.close()


def _before(since: datetime) -> str:
    return first_id_of(round(since.replace(tzinfo=UTC).timestamp() * 1000))
