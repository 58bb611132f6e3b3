"""What the demo prints about what happened."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from wavecom_common.channels.declaration import LocalProvider

from wavecom_stack.demo.results import ChannelResult

_SHOWN_BY_THE_OTHER_COLUMNS: Final = frozenset({"id", "type", "attempt", "occurredAt"})


def print_results(console: Console, results: Sequence[ChannelResult]) -> None:
    """A line per channel."""
    table = Table(box=box.SIMPLE)
    table.add_column("channel")
    for heading in ("accepted", "sent", "failed", "attempts", "p50 POST to sent", "p95"):
        table.add_column(heading, justify="right")
    for result in results:
        counts = (result.accepted, result.sent, result.failed, result.attempts)
        table.add_row(result.channel, *map(str, counts), _seconds(result.p50_s), _seconds(result.p95_s))
    console.print(table)


def print_timeline(console: Console, notification: dict[str, Any], events: Sequence[dict[str, Any]]) -> None:
    """One notification's life."""
    console.print(
        f"The life of one of them, {notification['id']} ({notification['channel']}, {notification['status']} after "
        f"{notification['attempts']} attempts), as GET /api/notifications/{{id}}/events tells it:",
        soft_wrap=True,
    )
    table = Table(box=box.SIMPLE)
    table.add_column("after", justify="right")
    for heading in ("event", "attempt", "details"):
        table.add_column(heading)
    began = datetime.fromisoformat(events[0]["occurredAt"])
    for event in events:
        after_s = (datetime.fromisoformat(event["occurredAt"]) - began).total_seconds()
        table.add_row(_seconds(after_s), event["type"], str(event["attempt"]), details(event))
    console.print(table)


def details(event: dict[str, Any]) -> str:
    """What an event says beyond its name and time."""
    return ", ".join(
        f"{key}: {value}"
        for key, value in event.items()
        if key not in _SHOWN_BY_THE_OTHER_COLUMNS and value is not None
    )


def print_kept(console: Console, provider: LocalProvider, folder: Path) -> None:
    """The last of what arrived at a local provider, as text."""
    kept = provider.kept(folder)
    if not kept:
        return
    console.print(f"{len(kept)} {provider.what} arrived. One of them ({kept[-1]}):\n", soft_wrap=True)
    for line in provider.text(kept[-1].read_bytes()).splitlines():
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
