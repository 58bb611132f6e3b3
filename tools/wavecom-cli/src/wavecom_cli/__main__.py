"""`wavecom`: what an operator does to a running system, from the command line."""

import asyncio
import sys
from collections.abc import Sequence

import typer
from status_projector.model.pointer import Pointers
from wavecom_common.hosting.settings import Settings
from wavecom_common.kernel.errors import WavecomError
from wavecom_common.storage import indexes, sharding
from wavecom_common.telemetry import logs

from wavecom_cli import check, dead, link, rebuild, recover, retention, topology

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Operate a WaveCom system.")
database = typer.Typer(no_args_is_help=True, help="The collections in the database.")
app.add_typer(topology.app, name="topology")
app.add_typer(database, name="database")
app.add_typer(dead.app, name="dead")
app.command("check")(check.check)
app.command("rebuild")(rebuild.rebuild)
app.command("recover")(recover.recover)
app.command("retention")(retention.retention)


@database.command("apply")
def database_apply() -> None:
    """Create every index; safe to repeat."""
    settings = Settings.load()

    async def apply() -> None:
        async with link.database(settings) as found:
            await indexes.apply(found, read_models=(await Pointers(found).read()).fed)

    asyncio.run(apply())
    print("the indexes are there")


@database.command("shard")
def database_shard() -> None:
    """Spread the collections over the shards of a cluster; safe to repeat."""
    settings = Settings.load()

    async def shard() -> Sequence[str]:
        async with link.database(settings) as found:
            return await sharding.apply(found)

    print(f"spread over the shards: {', '.join(asyncio.run(shard()))}")


def main() -> None:
    """Run a command; one of our errors becomes one line and exit status 1."""
    logs.setup("wavecom", "warning")
    try:
        app()
    except WavecomError as error:
        print(f"wavecom: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
