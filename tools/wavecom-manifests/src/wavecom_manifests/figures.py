"""Tables in documents, written between two marks from the measured figures and the manifests of production."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from wavecom_manifests import sizing
from wavecom_manifests.capacity import Capacity, read
from wavecom_manifests.objects import Manifests
from wavecom_manifests.processes import PROCESSES
from wavecom_manifests.repository import RENDERED, ROOT

DOCUMENTS: Final = (ROOT / "docs/sizing.md", ROOT / "docs/runbooks/autoscaling.md")
_MARKED: Final = re.compile(r"(?<=<!-- figures: )([a-z-]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
_MODES: Final = ("single", "batch")

Table = Callable[[Capacity, Manifests], str]


def written(document: Path) -> str:
    """The document's text with every table as it has to be now."""
    capacity, manifests = read(), Manifests.read(RENDERED / "prod.yaml")
    return _MARKED.sub(
        lambda match: f"{match[1]}{match[2]}\n{TABLES[match[1]](capacity, manifests)}\n", document.read_text()
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def _costs(capacity: Capacity, manifests: Manifests) -> str:
    rows = []
    for name, single, per_s in sizing.cores_per_notification(capacity, "single"):
        batch = capacity.bench["batch"][name]
        rows.append([name, f"{single:.3f}", f"{per_s:,.0f}", f"{batch:.3f}", f"{1000 / batch:,.0f}"])
    sums = [sum(capacity.bench[mode].values()) for mode in _MODES]
    rows.append(["all", f"{sums[0]:.2f}", f"{1000 / sums[0]:,.0f}", f"{sums[1]:.2f}", f"{1000 / sums[1]:,.0f}"])
    head = ["", "CPU ms, one a POST", "a core carries, a second", "CPU ms, 100 a POST", "a core carries, a second"]
    return _table(head, rows)


def _sizes(capacity: Capacity, manifests: Manifests) -> str:
    rates = sizing.RATES_PER_MINUTE
    least, most = ([sizing.size(capacity, mode, rate) for rate in rates] for mode in ("batch", "single"))
    rows: list[list[object]] = [["systems side by side", *(one.systems for one in most), ""]]
    for name in PROCESSES:
        spans = _spans([one.pods[name] for one in least], [one.pods[name] for one in most])
        rows.append([f"{name}, pods", *spans, _highest(manifests, name)])
    for name in sizing.SERVERS:
        spans = _spans([one.cores[name] for one in least], [one.cores[name] for one in most])
        rows.append([f"{name}, CPUs of each of three members", *spans, ""])
    messages = (f"{one.queue_messages_per_s:,.0f}" for one in most)
    rows.append(["messages a second in `dispatcher.requested`", *messages, ""])
    rows.append(["of what one queue can do", *(f"{one.queue_busy:.0%}" for one in most), ""])
    rows.append(["disk a day, each member", *(f"{one.disk_gb_per_day:,.0f} GB" for one in most), ""])
    head = ["", *(f"{rate:,} a minute" for rate in rates), "production's scalers go up to"]
    return _table(head, rows)


def _spans(least: Sequence[int], most: Sequence[int]) -> Sequence[str]:
    return [str(high) if low == high else f"{low} to {high}" for low, high in zip(least, most, strict=True)]


def _copies(capacity: Capacity, manifests: Manifests) -> str:
    rows = [
        [name, f"{one.per_s:,}", f"{one.cpu_ms:g} ms", f"{1000 / one.cpu_ms:,.0f}", f"{one.memory_mb} MB"]
        for name in PROCESSES
        if (one := capacity.copies.get(name)) is not None
    ]
    head = ["process", "events a second there", "CPU each", "would be on one quiet CPU", "memory"]
    return _table(head, rows) + f"\nMeasured with {capacity.copies_measured}.\n"


def _scalers(capacity: Capacity, manifests: Manifests) -> str:
    rows: list[list[object]] = []
    for scaler in manifests.of("HorizontalPodAutoscaler"):
        metric = scaler.spec["metrics"][0]["resource"]["target"]["averageUtilization"]
        span = f"{scaler.spec['minReplicas']} to {scaler.spec['maxReplicas']}"
        rows.append([scaler.name, "CPU, HorizontalPodAutoscaler", f"{metric} % of the request", span])
    for scaler in manifests.of("ScaledObject"):
        metadata = scaler.spec["triggers"][0]["metadata"]
        queues = "its three queues, summed" if metadata.get("useRegex") else f"`{metadata['queueName']}`"
        span = f"{scaler.spec['minReplicaCount']} to {scaler.spec['maxReplicaCount']}"
        rows.append([scaler.name, queues, f"{metadata['value']} messages", span])
    order = list(PROCESSES)
    rows.sort(key=lambda row: order.index(str(row[0])))
    return _table(["process", "scaled by", "one copy more for every", "copies in production"], rows)


def _highest(manifests: Manifests, name: str) -> int:
    for kind, field in (("HorizontalPodAutoscaler", "maxReplicas"), ("ScaledObject", "maxReplicaCount")):
        scaler = manifests.find(kind, name)
        if scaler is not None:
            return int(scaler.spec[field])
    raise KeyError(name)


TABLES: Final[Mapping[str, Table]] = {"costs": _costs, "sizes": _sizes, "copies": _copies, "scalers": _scalers}
