"""Figures for a reader: a table, a comparison with an earlier run, a plot."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib
from rich.table import Table

from wavecom_bench.watch import Seen

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_COLUMNS: Final = (
    ("accepted_per_s", "accepted/s"),
    ("e2e_per_s", "end to end/s"),
    ("cpu_ms_per_notification", "CPU ms each"),
    ("cost_in_bare_messages", "bare messages"),
    ("post_p50_ms", "POST p50 ms"),
    ("post_p99_ms", "p99"),
    ("post_to_call_p50_ms", "to call p50 ms"),
    ("sent_after_p50_s", "sent p50 s"),
    ("sent_after_p99_s", "p99"),
    ("sent_after_p99_high_s", "p99, high"),
    ("visible_after_p99_ms", "visible p99 ms"),
    ("cost_growth", "last/first fifth"),
    ("lost", "lost"),
)


def table(modes: Mapping[str, Mapping[str, Any]], earlier: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a mode; behind a figure, how many times that of the earlier run it is."""
    made = Table("mode", *[title for _, title in _COLUMNS])
    for name, figures in modes.items():
        made.add_row(name, *[_cell(key, figures, earlier.get(name, {})) for key, _ in _COLUMNS])
    return made


def cpu_table(modes: Mapping[str, Mapping[str, Any]]) -> Table:
    """CPU milliseconds a notification by process."""
    processes = sorted({process for figures in modes.values() for process in figures["cpu_ms_by_process"]})
    made = Table("CPU ms a notification", *modes)
    for process in processes:
        made.add_row(process, *[f"{figures['cpu_ms_by_process'].get(process, 0):.3f}" for figures in modes.values()])
    return made


def plot(name: str, seen: Seen, path: Path) -> None:
    """Messages ready in every queue that ever held any, over the time of the load."""
    figure, axes = plt.subplots(figsize=(9, 4))
    for queue, depths in seen.depths.items():
        if any(depths):
            axes.plot(seen.times_s, depths, label=queue)
    axes.set(title=f"{name}: messages ready", xlabel="seconds", ylabel="messages")
    if axes.lines:
        axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def _cell(key: str, figures: Mapping[str, Any], earlier: Mapping[str, Any]) -> str:
    value, before = figures.get(key), earlier.get(key)
    if value is None:
        return "-"
    return f"{value:g}" + (f"  ({value / before:.2f}x)" if before else "")
