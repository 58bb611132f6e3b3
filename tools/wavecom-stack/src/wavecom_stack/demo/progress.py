"""Live progress per channel: bars on a terminal, a line every two seconds elsewhere."""

import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from wavecom_stack.demo.results import ChannelResult

_LINE_EVERY_S: Final = 2.0


class View(Protocol):
    """Shows how far things are."""

    def __enter__(self) -> "View": ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, posted: int, results: Sequence[ChannelResult]) -> None:
        """Show these figures now."""
        ...


def view(console: Console, totals: Mapping[str, int]) -> View:
    """The view that fits where the output goes.

    Args:
        console: where to.
        totals: how many notifications there will be, by channel.
    """
    return _Bars(console, totals) if console.is_terminal else _Lines(console, sum(totals.values()))


class _Bars:
    def __init__(self, console: Console, totals: Mapping[str, int]) -> None:
        self._progress = Progress(
            TextColumn("  {task.description:<6}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("[green]{task.fields[sent]} sent[/]  [red]{task.fields[failed]} failed[/]"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {
            channel: self._progress.add_task(channel, total=total, sent=0, failed=0)
            for channel, total in totals.items()
        }

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, posted: int, results: Sequence[ChannelResult]) -> None:
        for result in results:
            done = result.sent + result.failed
            self._progress.update(self._tasks[result.channel], completed=done, sent=result.sent, failed=result.failed)


class _Lines:
    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._began = self._last = time.monotonic()

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, posted: int, results: Sequence[ChannelResult]) -> None:
        now = time.monotonic()
        finished = sum(result.sent + result.failed for result in results) == self._total
        if now - self._last < _LINE_EVERY_S and not finished:
            return
        self._last = now
        parts = [f"{result.channel} {result.sent} sent, {result.failed} failed" for result in results]
        self._console.print(f"  {now - self._began:4.0f} s  {posted} posted | {' | '.join(parts)}", soft_wrap=True)
