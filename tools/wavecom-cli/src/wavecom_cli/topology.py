"""`wavecom topology`: what is on the broker, declared, and made anew where it differs."""

import asyncio
from typing import Annotated

import typer
from wavecom_common.hosting.settings import Settings
from wavecom_common.messaging import migration
from wavecom_common.messaging import topology as broker

app = typer.Typer(no_args_is_help=True, help="The exchanges and queues on the broker.")


@app.command()
def apply() -> None:
    """Declare every exchange and queue, and take away bindings of earlier versions; safe to repeat.

    A queue that is there with other arguments stays as it is: exit status 1, and the line names it, its argument and
    `wavecom topology migrate`.
    """
    settings = Settings.load()
    planned = broker.plan(settings.broker_delays_ms)
    asyncio.run(broker.apply(settings.broker_url, planned))
    print(f"{len(planned.exchanges)} exchanges and {len(planned.queues)} queues are there")


@app.command()
def migrate(
    wait: Annotated[
        float, typer.Option(min=0, help="Wait so many seconds for a queue's consumers to be stopped.")
    ] = 60,
    quiet: Annotated[
        float,
        typer.Option(
            min=0,
            help="Delete a queue when it was empty for so many seconds: more than twice the broker's "
            "dead_letter_worker_publisher_confirm_timeout, which is 10 as we set it up, and 180 on others.",
        ),
    ] = migration.QUIET_S,
) -> None:
    """Make every queue anew whose arguments differ from the plan; nothing that is in it is lost.

    A queue that is read by a service is waited for: stop that service for the moment. Broken off anywhere, the same
    command goes on from there. Messages may come twice, and what waits for a retry starts its wait anew.
    """
    settings = Settings.load()
    said = ""

    def on_progress(queue: str, step: str) -> None:
        nonlocal said
        if said != (said := f"{queue}: {step}"):
            print(said, flush=True)

    migrated = asyncio.run(
        migration.migrate(
            settings.broker_url,
            broker.plan(settings.broker_delays_ms),
            wait_s=wait,
            quiet_s=quiet,
            on_progress=on_progress,
        )
    )
    print(f"made anew: {', '.join(migrated)}" if migrated else "every queue is as planned")
