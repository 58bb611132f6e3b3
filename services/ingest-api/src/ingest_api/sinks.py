"""What accepting needs of the broker and the database."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from wavecom_common.events.payloads import Payload
from wavecom_proto.v1.events_pb2 import Event


class EventSink(Protocol):
    """Where events go; `wavecom_common.messaging.publisher.EventPublisher` is the real one."""

    async def publish(self, events: Sequence[Event], *, timeout_s: float) -> None:
        """Return when every queue that needs the events has them.

        Raises:
            WavecomError: it could not be confirmed. Its `handed_over` is False when certainly nothing of them was
                handed to the broker.
        """
        ...


class PayloadSink(Protocol):
    """Where large payloads are kept; `wavecom_common.storage.payloads.Payloads` is the real one."""

    async def store(self, payloads: Mapping[str, Payload], *, timeout_s: float) -> None:
        """Return when all of them are stored.

        Raises:
            WavecomError: it is not known whether they are.
        """
        ...
