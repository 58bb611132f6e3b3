"""Putting events on a broker and looking at what waits there, for tests."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aio_pika.abc import AbstractIncomingMessage
from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import codec, routing
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.consumer import Consumer
from wavecom_common.messaging.incoming import GiveUp, Handler, dead_letter
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.messaging.topology import message_counts

RETRY_DELAY_MS: Final = 100


@asynccontextmanager
async def publishing(url: str, *, required: Sequence[str] = (), max_events: int = 100) -> AsyncIterator[EventPublisher]:
    """A publisher that is started, which does not wait for its connection; closed at the end."""
    publisher = EventPublisher(url, name="test", required_queues=required, max_events=max_events)
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.close()


@asynccontextmanager
async def consuming(
    url: str,
    handler: Handler,
    publisher: EventPublisher,
    queue: str = routing.DISPATCHER_QUEUE,
    *,
    give_up: GiveUp = dead_letter,
    prefetch: int = 10,
    retry_delay_ms: int = RETRY_DELAY_MS,
) -> AsyncIterator[Consumer]:
    """A consumer of one queue that is started, which does not wait for its connection; drained and closed at the end.

    What is to come again waits in the broker for `retry_delay_ms`, which is one of the topology's.
    """
    consumer = Consumer(
        url,
        name="test",
        queues=[queue],
        prefetch=prefetch,
        handler=handler,
        publisher=publisher,
        retry_delay_ms=retry_delay_ms,
        give_up=give_up,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.drain()
        await consumer.close()


async def depth(url: str, queue: str) -> int | None:
    """How many messages are ready in a queue; None when there is no such queue."""
    async with connected(url, "test") as connection:
        return (await message_counts(connection, [queue]))[queue]


async def depth_is(url: str, queue: str, count: int) -> bool:
    """Whether so many messages are ready in a queue."""
    return await depth(url, queue) == count


async def messages(url: str, queue: str) -> list[AbstractIncomingMessage]:
    """What waits in a queue, taken out of it."""
    found = []
    async with connected(url, "test") as connection:
        source = await (await connection.channel()).get_queue(queue, ensure=False)
        while (message := await source.get(no_ack=True, fail=False)) is not None:
            found.append(message)
    return found


def decoded(message: AbstractIncomingMessage) -> list[Event]:
    """The events of a message."""
    return codec.decode(message.body, content_type=message.content_type, content_encoding=message.content_encoding)


async def taken(url: str, queue: str) -> list[Event]:
    """The events that wait in a queue, taken out of it."""
    return [event for message in await messages(url, queue) for event in decoded(message)]
