"""Looking through a dead-letter queue, and taking messages out of it: to where they came from, or away for good."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, repeat

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractConnection, AbstractExchange, AbstractIncomingMessage, HeadersType
from aio_pika.exceptions import DeliveryError, PublishError
from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import codec, routing
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Overloaded, Unavailable, Undecodable, Unroutable
from wavecom_common.kernel.ids import new_message_id
from wavecom_common.messaging.connection import broker_errors, connected
from wavecom_common.messaging.settlement import DEAD_AT_HEADER, REASON_HEADER, REPLAYED_HEADER
from wavecom_common.messaging.topology import message_counts, plan


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


def queues() -> list[str]:
    """The queues that have a dead-letter queue."""
    names = {queue.name for queue in plan([]).queues}
    return sorted(name for name in names if routing.dead_queue(name) in names)


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


@asynccontextmanager
async def replaying(url: str, *, per_second: float) -> AsyncIterator[Callable[[Dead], Awaitable[bool]]]:
    """A `take` that sends each dead letter back to the queue it came from, and to no other, at that rate at most.

    It raises `Overloaded` when that queue is full, and `Unroutable` when it is not there.
    """
    async with connected(url, "wavecom dead replay") as connection:
        yield await _replayer(connection, per_second)


async def _replayer(connection: AbstractConnection, per_second: float) -> Callable[[Dead], Awaitable[bool]]:
    with broker_errors():
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        exchange = await channel.get_exchange(routing.EVENTS_EXCHANGE, ensure=False)
    pauses_s = chain([0.0], repeat(1 / per_second))

    async def take(dead: Dead) -> bool:
        # Before and not after it: what was sent leaves its dead-letter queue at once.
        await SYSTEM_CLOCK.sleep(next(pauses_s))
        message = Message(
            dead.body,
            message_id=new_message_id(),
            content_type=dead.content_type,
            content_encoding=dead.content_encoding,
            delivery_mode=DeliveryMode.PERSISTENT,
            # None of its past: it starts afresh.
            headers={REPLAYED_HEADER: 1},
        )
        with broker_errors():
            async with asyncio.timeout(10):
                await _publish(exchange, dead.queue, message)
        return True

    return take


async def _publish(exchange: AbstractExchange, queue: str, message: Message) -> None:
    try:
        await exchange.publish(message, routing.direct_key(queue), mandatory=True)
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
