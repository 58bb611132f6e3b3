"""Putting orders into the queues whose readers have to act on them, and into no other: the projector knows them."""

from collections.abc import Collection, Sequence

from wavecom_common.events import routing
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_proto.v1.events_pb2 import Event

from status_projector.recovery.missing_events import Order


class Resender:
    """Sends orders again. What is not due yet waits in the broker, for one of `delays_ms`.

    `timeout_s` is how long a confirm may take; None: as long as the link lives.
    """

    def __init__(
        self,
        publisher: EventPublisher,
        *,
        delays_ms: Sequence[int],
        max_events: int,
        timeout_s: float | None = None,
    ) -> None:
        self._publisher = publisher
        self._delays_ms = sorted(delays_ms)
        self._max_events = max_events
        self._timeout_s = timeout_s

    async def send(self, orders: Collection[Order], now_ms: int) -> None:
        """Return when the broker confirmed all of it.

        Raises:
            Unavailable: not all was confirmed; sending it again does no harm.
            Unroutable: a queue is not there.
        """
        told = [event for order in orders for event in order.told]
        if told:
            await self._publisher.publish(told, timeout_s=self._timeout_s)
        by_way: dict[tuple[str, str], list[Event]] = {}
        for order in orders:
            if order.work is not None:
                way = (self._exchange(order.due_at_ms - now_ms), routing.direct_key(order.queue))
                by_way.setdefault(way, []).append(order.work)
        for (exchange, key), events in by_way.items():
            for start in range(0, len(events), self._max_events):
                for message in self._publisher.messages(events[start : start + self._max_events]):
                    await self._publisher.publish_message(exchange, key, message, timeout_s=self._timeout_s)

    def _exchange(self, wait_ms: int) -> str:
        if wait_ms <= 0:
            return routing.EVENTS_EXCHANGE
        delay_ms = next((delay_ms for delay_ms in self._delays_ms if delay_ms >= wait_ms), self._delays_ms[-1])
        return routing.retry_name(delay_ms)
