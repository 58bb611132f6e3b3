"""The edges of a notification's trace: which span is below which, and across which process. The asynchronous first."""

from dataclasses import dataclass
from typing import Final


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
