"""How far a long command got, on the terminal's error stream: a bar for people, nothing in a pipe."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Events done so far.
Told = Callable[[int], None]


@contextmanager
def progress(what: str, total: int) -> Iterator[Told]:
    """A bar of about `total` events."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done, total=max(total, done))
