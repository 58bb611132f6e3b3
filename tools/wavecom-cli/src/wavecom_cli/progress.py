"""How far a long command got, on the terminal's error stream: a bar for people, nothing in a pipe."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Told(Protocol):
    """Is told how far it got."""

    def __call__(self, done: int, step: str | None = None) -> None:
        """So many events are done, of the step of that name (None: as before)."""
        ...


@contextmanager
def progress(what: str, total: int) -> Iterator[Told]:
    """A bar of about `total` events."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)

        def told(done: int, step: str | None = None) -> None:
            bar.update(task, completed=done, total=max(total, done), description=step)

        yield told
