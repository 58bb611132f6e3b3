"""Looking through a dead-letter queue, and taking messages out of it: to where they came from, or away for good."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import codec, routing
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Undecodable
from wavecom_common.kernel.ids import new_message_id
from wavecom_common.messaging.connection import broker_errors, connected
from wavecom_common.messaging.settlement import DEAD_AT_HEADER, REASON_HEADER
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
    """Show up to `limit` dead letters of `queue` to `take`; those for which it is true leave the queue.

    The others go back when the walk ends, also when it ends early.

    Returns:
        How many left.

    Raises:
        Unavailable: the broker can't be reached; what left before has left.
    """
    taken = 0
    async with connected(url, "wavecom dead") as connection:
        with broker_errors():
            channel = await connection.channel()
            source = await channel.get_queue(routing.dead_queue(queue), ensure=False)
            for _ in range(limit):
                message = await source.get(fail=False, no_ack=False)
                if message is None:
                    break
                if await take(_read(queue, message)):
                    await message.ack()
                    taken += 1
    return taken


@asynccontextmanager
async def replaying(url: str, *, per_second: float) -> AsyncIterator[Callable[[Dead], Awaitable[bool]]]:
    """A `take` that sends each dead letter back to the queue it came from, and to no other, at that rate at most."""
    async with connected(url, "wavecom dead replay") as connection:
        yield await _replayer(connection, per_second)


async def _replayer(connection: AbstractConnection, per_second: float) -> Callable[[Dead], Awaitable[bool]]:
    with broker_errors():
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        exchange = await channel.get_exchange(routing.EVENTS_EXCHANGE, ensure=False)

    async def take(dead: Dead) -> bool:
        # Without the headers of its past: it starts afresh.
        message = Message(
            dead.body,
            message_id=new_message_id(),
            content_type=dead.content_type,
            content_encoding=dead.content_encoding,
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        with broker_errors():
            async with asyncio.timeout(10):
                await exchange.publish(message, routing.direct_key(dead.queue), mandatory=True)
        await SYSTEM_CLOCK.sleep(1 / per_second)
        return True

    return take


def _read(queue: str, message: AbstractIncomingMessage) -> Dead:
    try:
        events = codec.decode(
            message.body, content_type=message.content_type, content_encoding=message.content_encoding
        )
    except Undecodable:
        events = []
    at_ms = message.headers.get(DEAD_AT_HEADER)
    return Dead(
        queue=queue,
        # Without our header it was the broker that gave it up.
        reason=str(message.headers.get(REASON_HEADER, "given out too often (the broker's delivery limit)")),
        dead_at_ms=at_ms if isinstance(at_ms, int) else None,
        events=events,
        body=message.body,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
    )
