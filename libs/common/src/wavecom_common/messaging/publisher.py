"""Publishing events so that a return without an error means: every queue that needs them has them, on disk.

Source: https://www.rabbitmq.com/docs/confirms
"""

import asyncio
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Final

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import DeliveryError, PublishError
from pamqp.common import FieldValue
from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import codec, routing
from wavecom_common.kernel.batcher import Batcher
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Overloaded, Unavailable, Unroutable
from wavecom_common.kernel.ids import new_message_id
from wavecom_common.kernel.tasks import spawn_vital
from wavecom_common.messaging.connection import broker_errors, keep_session, lost
from wavecom_common.messaging.topology import message_counts
from wavecom_common.telemetry import metrics, spans
from wavecom_common.telemetry.logs import get_logger

CONFIRM_TIMEOUT_S: Final = 5.0
CHECK_INTERVAL_S: Final = 10.0
# While something is missing its return is looked for more often.
_MISSING_INTERVAL_S: Final = 1.0
_RETRY_PAUSE_S: Final = 0.05

_log = get_logger()


class EventPublisher:
    """Publishes events in adaptive batches, one routing key a message, and waits for the broker's confirm.

    A part of a process: it connects in the background and again whenever the link is lost. `required_queues` must
    exist for it to be ready: their existence is looked at, at the start of each session and every 10 s.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        required_queues: Sequence[str],
        linger_s: float = 0.005,
        max_events: int = 100,
        compress_above_bytes: int = 16_384,
    ) -> None:
        self._url = url
        self._name = f"{name} publisher"
        self._required_queues = required_queues
        self._linger_s = linger_s
        self._max_events = max_events
        self._compress_above_bytes = compress_above_bytes
        self._lanes: dict[tuple[str, str], Batcher[Event, None]] = {}
        self._channel: AbstractChannel | None = None
        self._usable = asyncio.Event()
        self._missing: list[str] = []
        # The keys whose last message the broker returned.
        self._unbound: set[tuple[str, str]] = set()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # Handed to the broker since the start, confirmed or not.
        self.messages_published = 0
        self.events_published = 0

    async def start(self) -> None:
        """Begin to connect; `ready()` tells when it is done."""
        self._task = spawn_vital(keep_session(self._url, self._name, self._session, self._stop), self._name)

    def ready(self) -> str | None:
        """None, or why nothing can be published now."""
        if self._missing:
            return f"queue {self._missing[0]} is missing: run `wavecom topology apply`"
        if self._unbound:
            exchange, key = min(self._unbound)
            return f"no queue is bound to {exchange} for {key}: run `wavecom topology apply`"
        return None if self._usable.is_set() else "not connected to the broker"

    async def drain(self) -> None:
        """Nothing to do: whoever publishes waits for the confirm itself."""

    async def close(self) -> None:
        """Close the link."""
        if self._task is not None:
            self._stop.set()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def publish(self, events: Sequence[Event], *, timeout_s: float) -> None:
        """Return when every event is confirmed. Repeats over lost links until the time is up; a repeat does no harm.

        Raises:
            Unavailable: no confirm in time; the events may or may not be there. Retryable.
            Overloaded: a queue or our own buffer is full. Retryable after a while.
            Unroutable: no queue is bound. Retryable once the topology is applied.
        """
        await self._publish(routing.EVENTS_EXCHANGE, events, timeout_s)

    async def publish_later(self, events: Sequence[Event], *, delay_ms: int, timeout_s: float) -> None:
        """As `publish`, but the broker hands the events on only after `delay_ms` (one of the topology's delays)."""
        await self._publish(routing.retry_name(delay_ms), events, timeout_s)

    def message(self, events: Sequence[Event], headers: Mapping[str, FieldValue] | None = None) -> Message:
        """A persistent message of these events, with an id of its own: returned messages are matched by it."""
        encoded = codec.encode(events, compress_above_bytes=self._compress_above_bytes)
        if encoded.content_encoding is not None:
            metrics.COMPRESSED_FROM_BYTES.inc(encoded.plain_bytes)
            metrics.COMPRESSED_TO_BYTES.inc(len(encoded.body))
        return Message(
            encoded.body,
            message_id=new_message_id(),
            content_type=codec.CONTENT_TYPE,
            content_encoding=encoded.content_encoding,
            delivery_mode=DeliveryMode.PERSISTENT,
            headers=dict(headers or {}),
        )

    async def publish_message(
        self, exchange: str, routing_key: str, message: Message, *, timeout_s: float = CONFIRM_TIMEOUT_S
    ) -> None:
        """Publish one ready-made message, with the same promise as `publish` but without its repeats."""
        with broker_errors():
            async with asyncio.timeout(timeout_s):
                await self._usable.wait()
                await self._send(exchange, routing_key, message)

    async def _publish(self, exchange: str, events: Sequence[Event], timeout_s: float) -> None:
        by_key: dict[str, list[Event]] = {}
        for event in events:
            by_key.setdefault(routing.routing_key(event), []).append(event)
        if len(by_key) == 1:
            [(key, group)] = by_key.items()
            await self._publish_traced(exchange, key, group, timeout_s)
            return
        # All of them are waited for, also when one fails: none is left running on its own.
        results = await asyncio.gather(
            *[self._publish_traced(exchange, key, group, timeout_s) for key, group in by_key.items()],
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _publish_traced(self, exchange: str, key: str, events: list[Event], timeout_s: float) -> None:
        open_spans = [
            spans.start_publish(group, exchange=exchange, routing_key=key) for group in spans.by_cause(events)
        ]
        failure: BaseException | None = None
        try:
            await self._publish_until(exchange, key, events, timeout_s)
        except BaseException as error:
            failure = error
            raise
        finally:
            for span in open_spans:
                spans.end(span, failure)

    async def _publish_until(self, exchange: str, key: str, events: list[Event], timeout_s: float) -> None:
        lane = self._lane(exchange, key)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while True:
            try:
                async with asyncio.timeout_at(deadline_s):
                    await lane.submit_all(events)
                return
            except TimeoutError:
                raise Unavailable(f"no confirm within {timeout_s:g} s") from None
            except (Overloaded, Unroutable):
                raise
            except Unavailable:
                if loop.time() + _RETRY_PAUSE_S >= deadline_s:
                    raise
            await SYSTEM_CLOCK.sleep(_RETRY_PAUSE_S)

    def _lane(self, exchange: str, key: str) -> Batcher[Event, None]:
        lane = self._lanes.get((exchange, key))
        if lane is None:

            async def flush(events: list[Event]) -> list[None]:
                await self._send_batch(exchange, key, events)
                return [None] * len(events)

            lane = Batcher(flush, max_items=self._max_events, linger_s=self._linger_s, max_in_flight=2)
            self._lanes[exchange, key] = lane
        return lane

    async def _send_batch(self, exchange: str, key: str, events: list[Event]) -> None:
        if self._missing:
            raise Unroutable(f"queue {self._missing[0]} is missing")
        once_more = routing.and_then(key)
        if once_more is not None and (exchange, once_more) in self._unbound:
            # Until the next look: the event store would hear of requests that are not accepted.
            raise Unroutable(f"no queue is bound to {exchange} for {once_more}")
        metrics.BATCH_SIZE.labels("publish").observe(len(events))
        self.messages_published += 1
        self.events_published += len(events)
        message = self.message(events)
        await self.publish_message(exchange, key, message)
        if once_more is not None:
            again = copy(message)
            again.message_id = new_message_id()
            await self.publish_message(exchange, once_more, again)

    async def _send(self, exchange: str, key: str, message: Message) -> None:
        channel = self._channel
        if channel is None:
            raise Unavailable("not connected to the broker")
        target = await channel.get_exchange(exchange, ensure=False)
        try:
            await target.publish(message, key, mandatory=True)
        except PublishError as error:
            self._unbound.add((exchange, key))
            raise Unroutable(f"no queue is bound to {exchange} for {key}") from error
        except DeliveryError as error:
            raise Overloaded(f"the broker refused a message for {key}: a queue is full") from error
        self._unbound.discard((exchange, key))

    async def _session(self, connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        # The client library sometimes loses a cancellation that comes while it connects, so the stop is watched here.
        ends = [asyncio.ensure_future(lost(connection, channel)), asyncio.ensure_future(self._stop.wait())]
        try:
            await self._check(connection)
            self._channel = channel
            self._usable.set()
            _log.info("publisher_connected", connection=self._name)
            while not (await asyncio.wait(ends, timeout=self._pause_s, return_when=asyncio.FIRST_COMPLETED))[0]:
                await self._check(connection)
        finally:
            self._usable.clear()
            self._channel = None
            for end in ends:
                end.cancel()

    @property
    def _pause_s(self) -> float:
        return _MISSING_INTERVAL_S if self._missing else CHECK_INTERVAL_S

    async def _check(self, connection: AbstractConnection) -> None:
        async with asyncio.timeout(CONFIRM_TIMEOUT_S):
            counts = await message_counts(connection, self._required_queues)
        missing = [name for name, count in counts.items() if count is None]
        if missing and missing != self._missing:
            _log.error("queues_missing", queues=missing)
        self._missing = missing
        # Nobody can ask for a binding, and who is not ready is not given what would show that it is there again.
        self._unbound.clear()
