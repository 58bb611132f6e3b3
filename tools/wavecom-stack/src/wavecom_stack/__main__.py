"""The command line of the local stack: `python -m wavecom_stack up|down|demo`."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from wavecom_stack import down as down_run
from wavecom_stack import up as up_run
from wavecom_stack.demo.run import demo as run_demo
from wavecom_stack.errors import StackError
from wavecom_stack.folder import RunFolder

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The whole system on one machine.")

Folder = Annotated[
    Path, typer.Option("--folder", envvar="WAVECOM_RUN_FOLDER", help="Where pid files, logs and data are kept.")
]
_DEFAULT = Path(".run")


@app.command()
def up(folder: Folder = _DEFAULT) -> None:
    """Start the whole system and leave it running."""
    _run(lambda: up_run.up(RunFolder(folder.resolve()), os.environ, _say))


@app.command()
def down(
    folder: Folder = _DEFAULT,
    keep_data: Annotated[
        bool, typer.Option(envvar="WAVECOM_KEEP_DATA", help="Leave what RabbitMQ and MongoDB stored.")
    ] = False,
) -> None:
    """Stop what `up` started."""
    _run(lambda: down_run.down(RunFolder(folder.resolve()), os.environ, _say, keep_data=keep_data))


@app.command()
def demo(folder: Folder = _DEFAULT) -> None:
    """Start everything, send a mixed load through all channels, show what happened, clean up."""
    _run(lambda: run_demo(RunFolder(folder.resolve() / "demo"), os.environ))


def _run(command: Callable[[], None]) -> None:
    """Run to the end, whatever ends it: 1 for what can be explained, 130 and 143 for the signals."""
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGHUP, _terminated)
    try:
        command()
    except StackError as error:
        print(f"\n{error}", file=sys.stderr, flush=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _terminated(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    app()
