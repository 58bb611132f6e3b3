"""The edges of a notification's trace: which span is below which, and across which process. The asynchronous first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wavecom_common.testing.otlp import ReceivedSpan


@dataclass(frozen=True, slots=True)
class Edge:
    """A span of `service` whose name starts with `name`, and what its parent is; `linked`: it links to that, too."""

    service: str
    name: str
    parent_service: str
    parent_name: str
    linked: bool = False


def edges(channel: str) -> list[Edge]:
    """What the trace of one notification of a channel holds."""
    sender = f"{channel}-sender"
    publish: Final = "publish wavecom.events"
    return [
        Edge("dispatcher", "process dispatcher.requested", "ingest-api", publish, linked=True),
        Edge(sender, f"process {sender}.medium", "dispatcher", publish, linked=True),
        Edge("status-projector", "process status-projector.events", "ingest-api", publish, linked=True),
        Edge("status-projector", "process status-projector.events", "dispatcher", publish, linked=True),
        Edge("status-projector", "process status-projector.events", sender, publish, linked=True),
        Edge("ingest-api", publish, "ingest-api", "POST /api/notifications"),
        Edge("dispatcher", publish, "dispatcher", "process dispatcher.requested"),
        Edge(sender, "deliver simulated", sender, f"process {sender}.medium"),
        Edge(sender, publish, sender, f"process {sender}.medium"),
    ]


def missing(channel: str, spans: Sequence[ReceivedSpan]) -> list[Edge]:
    """The edges of a notification's trace that these spans do not have."""
    by_id = {span.span_id: span for span in spans}
    return [edge for edge in edges(channel) if not any(_is(edge, span, by_id.get(span.parent_id)) for span in spans)]


def _is(edge: Edge, span: ReceivedSpan, parent: ReceivedSpan | None) -> bool:
    if parent is None or span.service != edge.service or not span.name.startswith(edge.name):
        return False
    if parent.service != edge.parent_service or not parent.name.startswith(edge.parent_name):
        return False
    return not edge.linked or (parent.trace_id, parent.span_id) in span.links
