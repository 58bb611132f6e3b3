"""Where a requested notification goes. Pure."""

from wavecom_common.events import types
from wavecom_common.events.channels import CHANNELS, PRIORITIES
from wavecom_proto.v1.events_pb2 import Event


def route(requested: Event, now_ms: int) -> Event:
    """The event that follows: dispatched to the channel's sender, or failed where there is no such sender."""
    if requested.channel not in CHANNELS:
        return types.failed(requested, error="no sender for this channel", reason=types.UNROUTABLE, now_ms=now_ms)
    if requested.priority not in PRIORITIES:
        return types.failed(requested, error="no queue for this priority", reason=types.UNROUTABLE, now_ms=now_ms)
    return types.dispatched(requested, attempt=1, now_ms=now_ms)
