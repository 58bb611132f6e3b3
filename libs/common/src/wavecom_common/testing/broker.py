"""Putting events on a broker and looking at what waits there, for tests."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aio_pika.abc import AbstractIncomingMessage
from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import codec
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.messaging.topology import message_counts


@asynccontextmanager
async def publishing(url: str, *, required: Sequence[str] = (), max_events: int = 100) -> AsyncIterator[EventPublisher]:
    """A publisher that is started, which does not wait for its connection; closed at the end."""
    publisher = EventPublisher(url, name="test", required_queues=required, max_events=max_events)
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.close()


async def depth(url: str, queue: str) -> int | None:
    """How many messages are ready in a queue; None when there is no such queue."""
    async with connected(url, "test") as connection:
        return (await message_counts(connection, [queue]))[queue]


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
