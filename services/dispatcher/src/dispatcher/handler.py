"""Requested events in, dispatched events out."""

from collections.abc import Sequence

from wavecom_common.events import types
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import ACK, DeadLetter, Outcome
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.telemetry import metrics
from wavecom_proto.v1.events_pb2 import Event

from dispatcher.routing import route


class Dispatcher:
    """Publishes what follows from each request.

    It keeps no state: a request told twice is dispatched twice, which the delivery ledger makes one.
    """

    def __init__(self, publisher: EventPublisher, clock: Clock = SYSTEM_CLOCK) -> None:
        self._publisher = publisher
        self._clock = clock

    async def handle(self, incoming: Incoming) -> Sequence[Outcome]:
        """Dispatch every event of the message; see `messaging.incoming.Handler`.

        Raises:
            Unavailable: not everything is confirmed; called again, it publishes all of it again.
        """
        now_ms = self._clock.now_ms()
        follows = [route(event, now_ms) for event in incoming.events if event.type == types.REQUESTED]
        await self._publisher.publish(follows)
        for event in follows:
            if event.type == types.FAILED:
                metrics.FAILED.labels(event.channel, event.priority, event.failed.reason).inc()
        return [_outcome(event) for event in incoming.events]


def _outcome(event: Event) -> Outcome:
    if event.type == types.REQUESTED:
        return ACK
    return DeadLetter(f"the dispatcher does not know the event type {event.type[:64]!r}")
