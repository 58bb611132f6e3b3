"""Looking through a dead-letter queue, and taking messages out of it: to where they came from, or away for good."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, repeat
from typing import Final

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage, HeadersType
from aio_pika.exceptions import DeliveryError, PublishError
from pamqp.common import FieldValue
from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import codec, routing
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Overloaded, Unavailable, Undecodable, Unroutable
from wavecom_common.kernel.ids import new_message_id
from wavecom_common.messaging.connection import broker_errors, connected
from wavecom_common.messaging.depths import QueueDepths
from wavecom_common.messaging.headers import DEAD_AT_HEADER, QUEUE_HEADER, REASON_HEADER, REPLAYED_HEADER
from wavecom_common.messaging.topology import message_counts, plan
from wavecom_common.telemetry import metrics

_COMPRESS_ABOVE_BYTES: Final = 16_384
_WATCH_INTERVAL_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Dead:
    """A message in a dead-letter queue. `events` is empty when its body can't be read."""

    queue: str
    reason: str
    dead_at_ms: int | None
    events: Sequence[Event]
    body: bytes
    content_type: str | None
    content_encoding: str | None

    def of(self, events: Sequence[Event]) -> "Sequence[Dead]":
        """The same with some of its events only: one, or several where they are large."""
        bodies = codec.encode(events, compress_above_bytes=_COMPRESS_ABOVE_BYTES)
        return [
            replace(
                self,
                events=codec.decode(one.body, content_type=codec.CONTENT_TYPE, content_encoding=one.content_encoding),
                body=one.body,
                content_type=codec.CONTENT_TYPE,
                content_encoding=one.content_encoding,
            )
            for one in bodies
        ]


def queues() -> list[str]:
    """The queues that have a dead-letter queue."""
    names = {queue.name for queue in plan([]).queues}
    return sorted(name for name in names if routing.dead_queue(name) in names)


def watch(url: str, *, name: str) -> QueueDepths:
    """Keeps the metric of what waits in each dead-letter queue; a component of a process."""

    def count(depths: Mapping[str, int]) -> None:
        for queue in queues():
            metrics.DEAD_LETTERS.labels(queue).set(depths[routing.dead_queue(queue)])

    dead = [routing.dead_queue(queue) for queue in queues()]
    return QueueDepths(
        url,
        name=f"{name} dead letters",
        queues=dead,
        on_look=count,
        interval_s=_WATCH_INTERVAL_S,
        # Nobody reads these, so each look would ask for ten queues that are not there.
        migrating=False,
    )


async def counts(url: str) -> dict[str, int]:
    """How many messages each queue's dead-letter queue holds.

    Raises:
        Unavailable: the broker can't be reached.
    """
    async with connected(url, "wavecom dead") as connection:
        with broker_errors():
            found = await message_counts(connection, [routing.dead_queue(queue) for queue in queues()])
    return {queue: found[routing.dead_queue(queue)] or 0 for queue in queues()}


async def walk(url: str, queue: str, take: Callable[[Dead], Awaitable[bool]], *, limit: int) -> int:
    """Show the dead letters of `queue` that are there now to `take`, up to `limit`; those for which it is true leave.

    The others go back when the walk ends, also when it ends early. What comes meanwhile is not shown.

    Returns:
        How many left.

    Raises:
        Unavailable: the broker can't be reached; what left before has left.
    """
    seen = taken = 0
    kept: AbstractIncomingMessage | None = None
    async with connected(url, "wavecom dead") as connection:
        with broker_errors():
            channel = await connection.channel()
            source = await channel.get_queue(routing.dead_queue(queue), ensure=False)
            try:
                while seen < limit and (message := await source.get(fail=False, no_ack=False)) is not None:
                    if seen == 0:
                        # One that is replayed and refused again comes back behind these: it would go round for ever.
                        limit = min(limit, 1 + (message.message_count or 0))
                    seen += 1
                    before, kept = kept, message
                    if await take(_read(queue, message)):
                        await message.ack()
                        taken += 1
                        kept = before
            finally:
                if kept is not None:
                    # Left to the channel's end it would count as one more delivery that failed, also from 4.3 on.
                    with suppress(Unavailable), broker_errors():
                        await kept.nack(multiple=True, requeue=True)
            # Acknowledging fails silently on a link that is lost. This is answered after all of them were read.
            await channel.declare_queue(routing.dead_queue(queue), passive=True)
    return taken


class Replayer:
    """Sends dead letters back to the queues they came from, so many a second at most, each confirmed."""

    def __init__(self, channel: AbstractChannel, per_second: float) -> None:
        self._channel = channel
        self._pauses_s = chain([0.0], repeat(1 / per_second))

    async def __call__(self, dead: Dead) -> bool:
        """Send it back to its queue, and to no other; a `take` for `walk`.

        Raises:
            Overloaded: that queue is full.
            Unroutable: it is not there.
        """
        # Before and not after it: what was sent leaves its dead-letter queue at once.
        await SYSTEM_CLOCK.sleep(next(self._pauses_s))
        # None of its past: it starts afresh.
        await self._publish(routing.EVENTS_EXCHANGE, routing.direct_key(dead.queue), dead, {REPLAYED_HEADER: 1})
        return True

    async def put_back(self, dead: Dead) -> None:
        """Put a part of a dead letter into its dead-letter queue, as one of its own; raises as sending does."""
        headers: dict[str, FieldValue] = {QUEUE_HEADER: dead.queue, REASON_HEADER: dead.reason}
        if dead.dead_at_ms is not None:
            headers[DEAD_AT_HEADER] = dead.dead_at_ms
        await self._publish(routing.DEAD_EXCHANGE, dead.queue, dead, headers)

    async def _publish(self, exchange: str, key: str, dead: Dead, headers: dict[str, FieldValue]) -> None:
        message = Message(
            dead.body,
            message_id=new_message_id(),
            content_type=dead.content_type,
            content_encoding=dead.content_encoding,
            delivery_mode=DeliveryMode.PERSISTENT,
            headers=headers,
        )
        with broker_errors():
            async with asyncio.timeout(10):
                target = await self._channel.get_exchange(exchange, ensure=False)
                await _publish(target, key, dead.queue, message)


@asynccontextmanager
async def replaying(url: str, *, per_second: float) -> AsyncIterator[Replayer]:
    """A replayer over a link of its own."""
    async with connected(url, "wavecom dead replay") as connection:
        with broker_errors():
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        yield Replayer(channel, per_second)


async def _publish(exchange: AbstractExchange, key: str, queue: str, message: Message) -> None:
    try:
        await exchange.publish(message, key, mandatory=True)
    except PublishError as error:
        raise Unroutable(f"queue {queue} is missing: run `wavecom topology apply`") from error
    except DeliveryError as error:
        raise Overloaded(f"queue {queue} is full") from error


def _read(queue: str, message: AbstractIncomingMessage) -> Dead:
    try:
        events = codec.decode(
            message.body, content_type=message.content_type, content_encoding=message.content_encoding
        )
    except Undecodable:
        events = []
    reason, dead_at_ms = _why(message.headers)
    return Dead(
        queue=queue,
        reason=reason,
        dead_at_ms=dead_at_ms,
        events=events,
        body=message.body,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
    )


def _why(headers: HeadersType) -> tuple[str, int | None]:
    """Why and when it was given up, in ms since the epoch: by us, as our headers tell, or else by the broker."""
    if REASON_HEADER in headers:
        at_ms = headers.get(DEAD_AT_HEADER)
        return str(headers[REASON_HEADER]), at_ms if isinstance(at_ms, int) else None
    match headers.get("x-death"):
        # Its last death comes first. Source: https://www.rabbitmq.com/docs/dlx#effects
        case [{"reason": str(reason), "queue": str(queue), "count": int(count), "time": datetime() as at}, *_]:
            return f"the broker gave it up: {reason}, {count} x in {queue}", round(at.timestamp() * 1000)
    return "not told", None
