"""The edges of a notification's trace: which span is below which, and across which process. The asynchronous first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from wavecom_common.testing.otlp import ReceivedSpan


@dataclass(frozen=True, slots=True)
class Edge:
    """A span of `service` whose name starts with `name`, and what its cause is.

    It is the span's parent; `linked`: it links to that, too; `batched`: it links to that, and its parent is this or
    another cause in the same trace, for what happens in a batch happens once.
    """

    service: str
    name: str
    cause_service: str
    cause_name: str
    linked: bool = False
    batched: bool = False


def edges(channel: str) -> list[Edge]:
    """What the trace of one notification of a channel holds."""
    sender = f"{channel}-sender"
    publish: Final = "publish wavecom.events"
    return [
        Edge("dispatcher", "process dispatcher.requested", "ingest-api", publish, linked=True),
        Edge(sender, f"process {sender}.medium", "dispatcher", publish, linked=True),
        Edge("status-projector", "process status-projector.events", "ingest-api", publish, batched=True),
        Edge("status-projector", "process status-projector.events", "dispatcher", publish, batched=True),
        Edge("status-projector", "process status-projector.events", sender, publish, batched=True),
        Edge("ingest-api", publish, "ingest-api", "POST /api/notifications"),
        Edge("dispatcher", publish, "dispatcher", "process dispatcher.requested"),
        Edge(sender, "deliver simulated", sender, f"process {sender}.medium"),
        Edge(sender, publish, sender, f"process {sender}.medium"),
        Edge(sender, "claim attempts", sender, f"process {sender}.medium", linked=True),
        Edge(sender, "store outcomes", sender, f"process {sender}.medium", linked=True),
    ]


def missing(channel: str, spans: Sequence[ReceivedSpan]) -> list[Edge]:
    """The edges of a notification's trace that these spans do not have."""
    by_id = {span.span_id: span for span in spans}
    return [edge for edge in edges(channel) if not any(_is(edge, span, by_id) for span in spans)]


def _is(edge: Edge, span: ReceivedSpan, by_id: Mapping[str, ReceivedSpan]) -> bool:
    if span.service != edge.service or not span.name.startswith(edge.name) or span.parent_id not in by_id:
        return False
    linked = [by_id[span_id] for _, span_id in span.links if span_id in by_id]
    if edge.batched:
        return any(_causes(edge, one) for one in linked)
    parent = by_id[span.parent_id]
    return _causes(edge, parent) and (parent in linked or not edge.linked)


def _causes(edge: Edge, span: ReceivedSpan) -> bool:
    return span.service == edge.cause_service and span.name.startswith(edge.cause_name)
