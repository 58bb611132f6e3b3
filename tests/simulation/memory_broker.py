"""The broker, in memory: routes by the real topology, delivers in any order and more than once. It loses confirmed
messages only when it is told to.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aio_pika import Message
from wavecom_common.events import codec, routing
from wavecom_common.kernel.ids import new_message_id
from wavecom_common.messaging.handling import Handling
from wavecom_common.messaging.headers import past_of
from wavecom_common.messaging.incoming import Link, Raw
from wavecom_common.messaging.topology import Queue, matches, plan
from wavecom_proto.v1.events_pb2 import Event

from tests.simulation.chaos import Chaos, Process


@dataclass(eq=False)
class Stored:
    """A message in a queue, and how often it was given out."""

    message: Message
    routing_key: str
    deliveries: int = 0


@dataclass(eq=False)
class Reader:
    """A consumer of some queues: a process and the real handling in it."""

    process: Process
    queues: Sequence[str]
    handling: Handling
    holding: dict[Stored, str] = field(default_factory=dict)
    link: Link = field(default_factory=Link)

    def lose_link(self) -> None:
        """What came over it need not be finished. It makes another one."""
        self.holding = {}
        self.link.lose()
        self.link = Link()


class MemoryBroker:
    """The server: what is in it outlives every process."""

    def __init__(self, chaos: Chaos, delays_ms: Sequence[int]) -> None:
        self._chaos = chaos
        self._plan = plan(delays_ms)
        self.queues: dict[str, list[Stored]] = {queue.name: [] for queue in self._plan.queues}
        self.readers: list[Reader] = []

    def route(self, exchange: str, routing_key: str, message: Message) -> None:
        """Put a copy into every queue that is bound."""
        targets = [queue for queue in self._plan.queues if _bound(queue, exchange, routing_key)]
        assert targets, f"unroutable: {exchange} {routing_key}"
        for queue in targets:
            if self._loses(queue.name, routing_key):
                continue
            stored = Stored(message, routing_key)
            self.queues[queue.name].append(stored)
            ttl_ms = queue.arguments.get("x-message-ttl")
            if ttl_ms is not None:
                asyncio.get_running_loop().call_later(int(ttl_ms) / 1000, self._expire, queue.name, stored)
        self.deliver()

    def deliver(self) -> None:
        """Give every ready message to some reader of its queue."""
        for reader_queue, reader in self._readers_by_queue():
            for stored in list(self.queues[reader_queue]):
                self.queues[reader_queue].remove(stored)
                reader.holding[stored] = reader_queue
                stored.deliveries += 1
                asyncio.get_running_loop().create_task(self._give(reader, reader_queue, stored))

    def lose_everything(self) -> list[Event]:
        """Its disk is gone, and with it every message, and every link. What the projector had yet to see."""
        unseen = [stored for reader in self.readers for stored, queue in reader.holding.items() if _projectors(queue)]
        unseen += self.queues[routing.PROJECTOR_QUEUE]
        for reader in self.readers:
            reader.lose_link()
        for waiting in self.queues.values():
            waiting.clear()
        return [event for stored in unseen for event in _decode(stored.message)]

    def _loses(self, queue: str, routing_key: str) -> bool:
        # A request that the projector never saw is the one thing that cannot come back.
        if _projectors(queue) and routing_key.startswith("notification.requested"):
            return False
        return self._chaos.loss_rate > 0 and self._chaos.random.random() < self._chaos.loss_rate

    def disconnect(self, reader: Reader) -> None:
        """The link is gone: what is not acknowledged goes back, while the process may still be at it."""
        for stored, queue in reader.holding.items():
            self.queues[queue].append(stored)
        reader.lose_link()

    def _readers_by_queue(self) -> list[tuple[str, Reader]]:
        chosen = []
        for name, waiting in self.queues.items():
            readers = [reader for reader in self.readers if reader.process.alive and name in reader.queues]
            if waiting and readers:
                chosen.append((name, self._chaos.random.choice(readers)))
        return chosen

    async def _give(self, reader: Reader, queue: str, stored: Stored) -> None:
        link = reader.link
        await reader.process.step(may_fail=False)
        message = stored.message
        raw = Raw(
            queue=queue,
            message_id=message.message_id or "",
            body=message.body,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            delivery_count=stored.deliveries - 1,
            past=past_of(message.headers),
        )
        done = await reader.handling.process(raw, link)
        await reader.process.stop_if_dead()
        if done:
            # Lost with the link when the message went back meanwhile.
            reader.holding.pop(stored, None)

    def _expire(self, queue: str, stored: Stored) -> None:
        if stored not in self.queues[queue]:
            return
        self.queues[queue].remove(stored)
        self.route(routing.EVENTS_EXCHANGE, stored.routing_key, stored.message)


class MemoryPublisher:
    """One process's publisher: in place of `messaging.publisher.EventPublisher`."""

    def __init__(self, broker: MemoryBroker, process: Process) -> None:
        self._broker = broker
        self._process = process

    def messages(self, events: Sequence[Event], headers: Mapping[str, Any] | None = None) -> list[Message]:
        return [
            Message(
                encoded.body,
                message_id=new_message_id(),
                content_type=codec.CONTENT_TYPE,
                content_encoding=encoded.content_encoding,
                headers=dict(headers or {}),
            )
            for encoded in codec.encode(events, compress_above_bytes=16_384)
        ]

    def message(self, events: Sequence[Event], headers: Mapping[str, Any] | None = None) -> Message:
        [message] = self.messages(events, headers)
        return message

    async def publish(self, events: Sequence[Event], *, timeout_s: float | None = None) -> None:
        for event in events:
            key: str | None = routing.routing_key(event)
            while key is not None:
                await self.publish_message(routing.EVENTS_EXCHANGE, key, self.message([event]))
                key = routing.and_then(key)

    async def publish_later(self, events: Sequence[Event], *, delay_ms: int, timeout_s: float | None = None) -> None:
        for event in events:
            exchange = routing.retry_name(delay_ms)
            await self.publish_message(exchange, routing.routing_key(event), self.message([event]))

    async def publish_message(
        self, exchange: str, routing_key: str, message: Message, *, timeout_s: float | None = None
    ) -> None:
        lost = await self._process.step()
        self._broker.route(exchange, routing_key, message)
        await self._process.answer(lost)


def _projectors(queue: str) -> bool:
    return queue == routing.PROJECTOR_QUEUE


def _decode(message: Message) -> Sequence[Event]:
    return codec.decode(message.body, content_type=message.content_type, content_encoding=message.content_encoding)


def _bound(queue: Queue, exchange: str, routing_key: str) -> bool:
    return any(source == exchange and matches(pattern, routing_key) for source, pattern in queue.bindings)
