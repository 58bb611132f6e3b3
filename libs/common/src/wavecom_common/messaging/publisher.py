"""Publishing events so that a return without an error means: every queue that needs them has them, on disk.

Source: https://www.rabbitmq.com/docs/confirms
"""

import asyncio
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Final, TypeAlias

from aio_pika import DeliveryMode, Message
from pamqp.common import FieldValue
from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import codec, routing
from wavecom_common.kernel.batcher import Batcher, Load
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.component import Component
from wavecom_common.kernel.errors import Overloaded, Retryable, Unavailable, Unroutable
from wavecom_common.kernel.ids import new_message_id
from wavecom_common.messaging.confirmed import ConfirmedChannel
from wavecom_common.messaging.stalling import STALL_LIMIT_S
from wavecom_common.telemetry import metrics, spans

# How long a caller waits for a link before an error reports that there is none.
_LINK_WAIT_S: Final = 10.0
_RETRY_PAUSE_S: Final = 0.05


@dataclass(slots=True, eq=False)
class _Submission:
    """The events of one call on their way: whether any may be with the broker, and whether the call has ended."""

    handed_over: bool = False
    over: bool = False


_Item: TypeAlias = tuple[Event, _Submission]


class EventPublisher(Component):
    """Publishes events in adaptive batches, one routing key a message, and waits for the broker's confirm.

    A component of a process; see `ConfirmedChannel` for its link, for `required_queues` and for `stall_limit_s`, and
    `Batcher` for `linger_s` and `eager`.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        required_queues: Sequence[str],
        linger_s: float = 0.005,
        eager: bool = True,
        max_events: int = 100,
        compress_above_bytes: int = 16_384,
        stall_limit_s: float = STALL_LIMIT_S,
    ) -> None:
        self._channel = ConfirmedChannel(
            url, name=f"{name} publisher", required_queues=required_queues, stall_limit_s=stall_limit_s
        )
        self._linger_s = linger_s
        self._eager = eager
        self._max_events = max_events
        self._compress_above_bytes = compress_above_bytes
        self._lanes: dict[tuple[str, str], Batcher[_Item, None]] = {}
        # Of all keys together: what is spread over many of them keeps the process no less busy.
        self._load = Load()
        # Handed to the broker since the start, confirmed or not.
        self.messages_published = 0
        self.events_published = 0

    async def start(self) -> None:
        """Begin to connect; `ready()` reports when it is done."""
        await self._channel.start()

    def ready(self) -> str | None:
        """None, or why nothing can be published now."""
        return self._channel.ready()

    async def close(self) -> None:
        """Close the link."""
        await self._channel.close()

    async def publish(self, events: Sequence[Event], *, timeout_s: float | None = None) -> None:
        """Return when every event is confirmed; what waits on a link that is lost is published again over the next.

        Without a time limit a confirm is waited for as long as its link lives: giving up and publishing again would
        store another copy of what the broker is only slow to confirm.

        Raises:
            Unavailable: no confirm within `timeout_s`, or no link for ten seconds. Retryable.
            Overloaded: a queue or our own buffer is full. Retryable after a while.
            Unroutable: no queue is bound. Retryable once the topology is applied.

            All say with `handed_over` whether any of the events may be with the broker. False: certainly none is, and
            none will be.
        """
        await self._publish(routing.EVENTS_EXCHANGE, events, timeout_s)

    async def publish_later(self, events: Sequence[Event], *, delay_ms: int, timeout_s: float | None = None) -> None:
        """As `publish`, but the broker hands the events on only after `delay_ms` (one of the topology's delays)."""
        await self._publish(routing.retry_name(delay_ms), events, timeout_s)

    def messages(self, events: Sequence[Event], headers: Mapping[str, FieldValue] | None = None) -> list[Message]:
        """Persistent messages of these events: one, or more where one would be too large.

        Each has an id of its own, by which a returned message is matched.

        Raises:
            Oversized: an event is too large for any message. Not retryable.
        """
        bodies = codec.encode(events, compress_above_bytes=self._compress_above_bytes)
        return [self._message(encoded, headers or {}) for encoded in bodies]

    def message(self, events: Sequence[Event], headers: Mapping[str, FieldValue] | None = None) -> Message:
        """The one message of few and small events; see `messages`."""
        [message] = self.messages(events, headers)
        return message

    def _message(self, encoded: codec.Encoded, headers: Mapping[str, FieldValue]) -> Message:
        if encoded.content_encoding is not None:
            metrics.COMPRESSED_FROM_BYTES.inc(encoded.plain_bytes)
            metrics.COMPRESSED_TO_BYTES.inc(len(encoded.body))
        return Message(
            encoded.body,
            message_id=new_message_id(),
            content_type=codec.CONTENT_TYPE,
            content_encoding=encoded.content_encoding,
            delivery_mode=DeliveryMode.PERSISTENT,
            headers=dict(headers),
        )

    async def publish_message(
        self, exchange: str, routing_key: str, message: Message, *, timeout_s: float | None = None
    ) -> None:
        """Publish one ready-made message, with the same promise as `publish` but without its repeats.

        Raises:
            Unavailable, Overloaded, Unroutable: as `publish`; also when the link is lost before the confirm.
        """
        handed_over = False
        try:
            async with asyncio.timeout(timeout_s):
                await self._linked()
                handed_over = True
                await self._channel.send(exchange, routing_key, message)
        except TimeoutError:
            raise Unavailable(f"no confirm within {timeout_s:g} s", handed_over=handed_over) from None

    async def _publish(self, exchange: str, events: Sequence[Event], timeout_s: float | None) -> None:
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
        failures = [result for result in results if result is not None]
        if failures:
            raise _of_all(failures, some_done=len(failures) < len(results))

    async def _publish_traced(self, exchange: str, key: str, events: list[Event], timeout_s: float | None) -> None:
        open_spans = spans.start_publishes(exchange, key, events)
        failure: BaseException | None = None
        try:
            await self._publish_until(exchange, key, events, timeout_s)
        except BaseException as error:
            failure = error
            raise
        finally:
            for span in open_spans:
                spans.end(span, failure)

    async def _publish_until(self, exchange: str, key: str, events: list[Event], timeout_s: float | None) -> None:
        submission = _Submission()
        items = [(event, submission) for event in events]
        lane = self._lane(exchange, key)
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._submitted(lane, items):
                    await SYSTEM_CLOCK.sleep(_RETRY_PAUSE_S)
        except TimeoutError:
            raise Unavailable(f"no confirm within {timeout_s:g} s", handed_over=submission.handed_over) from None
        except Retryable as error:
            # Not the error itself: it is raised to every caller of a batch, whose events may have fared differently.
            raise type(error)(*error.args, handed_over=submission.handed_over) from error
        finally:
            submission.over = True

    async def _submitted(self, lane: Batcher[_Item, None], items: Sequence[_Item]) -> bool:
        """True when all of it is confirmed; False when the link was lost meanwhile and it has to be sent again."""
        await self._linked()
        try:
            await lane.submit_all(items)
        except (Overloaded, Unroutable):
            raise
        except Unavailable:
            return False
        return True

    async def _linked(self) -> None:
        """Return when there is a link.

        Raises:
            Unavailable: there is none for ten seconds.
        """
        if self._channel.usable.is_set():
            return
        try:
            async with asyncio.timeout(_LINK_WAIT_S):
                await self._channel.usable.wait()
        except TimeoutError:
            raise Unavailable("not connected to the broker", handed_over=False) from None

    def _lane(self, exchange: str, key: str) -> Batcher[_Item, None]:
        lane = self._lanes.get((exchange, key))
        if lane is None:

            async def flush(items: list[_Item]) -> list[None]:
                await self._send_batch(exchange, key, items)
                return [None] * len(items)

            lane = Batcher(
                flush,
                max_items=self._max_events,
                linger_s=self._linger_s,
                max_in_flight=2,
                eager=self._eager,
                load=self._load,
            )
            self._lanes[exchange, key] = lane
        return lane

    async def _send_batch(self, exchange: str, key: str, items: list[_Item]) -> None:
        # A caller whose time was up has reported that nothing was handed over: leave its events out.
        items = [item for item in items if not item[1].over]
        if not items:
            return
        once_more = routing.and_then(key)
        # Known before the first is sent, where the second is: the event store would hear of what is not accepted.
        refusal = self._channel.refusal(exchange, *([once_more] if once_more is not None else []))
        if refusal is not None:
            raise refusal
        for _, submission in items:
            submission.handed_over = True
        metrics.BATCH_SIZE.labels("publish").observe(len(items))
        self.events_published += len(items)
        for message in self.messages([event for event, _ in items]):
            self.messages_published += 1
            await self._channel.send(exchange, key, message)
            if once_more is not None:
                again = copy(message)
                again.message_id = new_message_id()
                await self._channel.send(exchange, once_more, again)


def _of_all(failures: Sequence[BaseException], *, some_done: bool) -> BaseException:
    """The first of what went wrong with parts of a call, as an error of the whole call."""
    first = failures[0]
    if isinstance(first, Retryable):
        first.handed_over = some_done or any(getattr(failure, "handed_over", True) for failure in failures)
    return first
