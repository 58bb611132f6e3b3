"""A broker in memory behind the objects of the client library, in virtual time.

Our code calls aio-pika as ever; what the library and a broker would do is written down here: confirms and returns,
consumers and delivery tags, questions about queues. A test decides when it is silent, full or gone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import aio_pika
import aiormq
import pytest
from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError, PublishError
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from wavecom_common.events import codec
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.messaging import connection as connection_module
from wavecom_common.messaging import topology
from wavecom_common.testing.virtual_time import run_virtually
from wavecom_proto.v1.events_pb2 import Event

URL = "amqp://guest:guest@broker:5672/"


@dataclass
class Published:
    """A message that came in, and how."""

    exchange: str
    key: str
    message: aio_pika.Message
    mandatory: bool

    @property
    def events(self) -> list[Event]:
        """What it holds."""
        one = self.message
        return codec.decode(one.body, content_type=one.content_type, content_encoding=one.content_encoding)


@dataclass
class MemoryBroker:
    """All connections there are and were, and what happened on them."""

    # How many messages each queue shows; a queue that is not here does not exist.
    depths: dict[str, int] = field(default_factory=dict)
    unbound: set[tuple[str, str]] = field(default_factory=set)
    full: set[str] = field(default_factory=set)
    # Set while it answers questions, and while it confirms.
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    confirms: asyncio.Event = field(default_factory=asyncio.Event)
    # Set while it can be connected to.
    up: asyncio.Event = field(default_factory=asyncio.Event)
    connections: "list[MemoryConnection]" = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    acked: list[tuple[int, bool]] = field(default_factory=list)
    given_back: list[int] = field(default_factory=list)
    prefetch: list[int] = field(default_factory=list)
    # Whether the library leaves a confirm waiting whose link has ended, as it sometimes does.
    forgetful: bool = False
    # Called while a consumer is being cancelled, before it is.
    on_cancel: Callable[[], None] = field(default=lambda: None)

    def __post_init__(self) -> None:
        for one in (self.answers, self.confirms, self.up):
            one.set()

    async def connect(self, url: str, *, heartbeat: int, client_properties: dict[str, str]) -> "MemoryConnection":
        """As `aio_pika.connect`."""
        if not self.up.is_set():
            raise ConnectionRefusedError
        self.connections.append(MemoryConnection(self, url))
        return self.connections[-1]

    @property
    def consuming(self) -> "MemoryChannel | None":
        """The channel that has consumers now."""
        channels = [one for connection in self.connections for one in connection.channels]
        return next((one for one in channels if one.underlay.consumers and not one.is_closed), None)

    def deliver(self, queue: str, *events: Event, body: bytes | None = None, **headers: Any) -> int:
        """Give a message out to the consumer of a queue; its delivery tag."""
        assert self.consuming is not None
        [encoded] = codec.encode(events, compress_above_bytes=10**9) if body is None else [None]
        return self.consuming.deliver(queue, encoded.body if encoded is not None else body or b"", headers)

    def cut(self) -> None:
        """Every link is lost."""
        for one in self.connections:
            one.end(ConnectionResetError("cut"))

    def acknowledged(self) -> set[int]:
        """The tags that were acknowledged, as a broker counts them."""
        tags: set[int] = set()
        for tag, multiple in self.acked:
            tags |= set(range(1, tag + 1)) - set(self.given_back) if multiple else {tag}
        return tags


class MemoryConnection(aio_pika.Connection):
    """A connection of the client library without a socket."""

    def __init__(self, broker: MemoryBroker, url: str) -> None:
        super().__init__(aio_pika.connection.URL(url))
        self.broker = broker
        self.close_callbacks = Callbacks()  # type: ignore[assignment]
        self.channels: list[MemoryChannel] = []
        self.gone = False

    @property
    def is_closed(self) -> bool:
        return self.gone

    async def channel(self, *_: Any, **options: Any) -> Any:
        await self.broker.answers.wait()
        if self.gone:
            raise RuntimeError("closed")
        self.channels.append(MemoryChannel(self.broker, options))
        return self.channels[-1]

    async def close(self, *_: Any) -> None:
        self.end(None)

    def end(self, error: BaseException | None) -> None:
        """It is closed, by whichever side: what waits on it ends."""
        if not self.gone:
            self.gone = True
            for one in self.channels:
                one.end(error)
            for callback in self.close_callbacks.all:  # type: ignore[attr-defined]
                callback(self, error)


class Underlay(aiormq.Channel):
    """The lower library's channel: acknowledgements, and who consumes."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.consumers: dict[str, Any] = {}

    def __repr__(self) -> str:
        return "underlay"

    def __del__(self) -> None:
        """Nothing to give back."""

    async def basic_ack(self, delivery_tag: int, multiple: bool = False, wait: bool = True) -> None:
        self.broker.acked.append((delivery_tag, multiple))

    async def basic_nack(
        self, delivery_tag: int, multiple: bool = False, requeue: bool = True, wait: bool = True
    ) -> None:
        assert requeue
        self.broker.given_back.append(delivery_tag)


class Callbacks:
    """What is called when a link is closed."""

    def __init__(self) -> None:
        self.all: list[Callable[..., Any]] = []

    def add(self, callback: Callable[..., Any]) -> None:
        self.all.append(callback)


class MemoryChannel:
    """A channel of the client library."""

    def __init__(self, broker: MemoryBroker, options: dict[str, Any]) -> None:
        self.broker, self.options = broker, options
        self.is_closed = False
        self.close_callbacks = Callbacks()
        self.underlay = Underlay(broker)
        self.delivered = 0
        self._callbacks: set[asyncio.Future[None]] = set()
        self._ended = asyncio.Event()

    async def set_qos(self, prefetch_count: int) -> None:
        self.broker.prefetch.append(prefetch_count)

    async def get_underlay_channel(self) -> Underlay:
        return self.underlay

    async def declare_queue(self, name: str, *, passive: bool) -> Any:
        assert passive
        await self.unless_ended(self.broker.answers)
        if name not in self.broker.depths:
            self.end(None)
            raise ChannelNotFoundEntity
        found = SimpleNamespace(message_count=self.broker.depths[name])
        return SimpleNamespace(declaration_result=found, consume=lambda callback: self._consume(name, callback))

    async def get_queue(self, name: str, *, ensure: bool) -> Any:
        assert not ensure
        return SimpleNamespace(cancel=self._cancel)

    async def get_exchange(self, name: str, *, ensure: bool) -> Any:
        assert not ensure
        return MemoryExchange(self, name)

    async def close(self) -> None:
        self.end(None)

    def deliver(self, queue: str, body: bytes, headers: dict[str, Any]) -> int:
        self.delivered += 1
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        message = SimpleNamespace(
            delivery_tag=self.delivered,
            message_id=f"m{self.delivered}",
            body=body,
            content_type=codec.CONTENT_TYPE,
            content_encoding=None,
            headers=names,
        )
        [callback] = [one for name, one in self.underlay.consumers.values() if name == queue]
        self._callbacks.add(asyncio.ensure_future(callback(message)))
        return self.delivered

    def end(self, error: BaseException | None) -> None:
        """It is closed."""
        if not self.is_closed:
            self.is_closed = True
            self._ended.set()
            for callback in self.close_callbacks.all:
                callback(self, error)

    async def unless_ended(self, event: asyncio.Event) -> None:
        """Wait for the event; raise what the library raises when the channel ends before."""
        waits = [asyncio.ensure_future(one.wait()) for one in (event, self._ended)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
        if self.is_closed:
            raise aiormq.exceptions.ChannelInvalidStateError("closed")

    async def _consume(self, queue: str, callback: Callable[[Any], Awaitable[None]]) -> str:
        tag = f"consumer of {queue}"
        self.underlay.consumers[tag] = (queue, callback)
        return tag

    async def _cancel(self, tag: str) -> None:
        self.broker.on_cancel()
        # What the broker gave out before it heard of the cancellation arrives before its answer.
        await SYSTEM_CLOCK.sleep(0.001)
        del self.underlay.consumers[tag]


class MemoryExchange:
    """An exchange, as the plan of the topology binds it."""

    def __init__(self, channel: MemoryChannel, name: str) -> None:
        self._channel, self._name = channel, name

    async def publish(self, message: aio_pika.Message, routing_key: str, *, mandatory: bool) -> None:
        broker = self._channel.broker
        if self._channel.is_closed:
            raise aiormq.exceptions.ChannelInvalidStateError("closed")
        broker.published.append(Published(self._name, routing_key, message, mandatory))
        await (broker.confirms.wait() if broker.forgetful else self._channel.unless_ended(broker.confirms))
        if (self._name, routing_key) in broker.unbound:
            returned = Basic.Return(312, "NO_ROUTE", self._name, routing_key)
            raise PublishError(DeliveredMessage(returned, ContentHeader(), b"", self._channel.underlay), returned)
        if broker.full.intersection(topology.queues_reached(self._name, routing_key)):
            raise DeliveryError(None, Basic.Nack(1))


@contextmanager
def reachable(monkeypatch: pytest.MonkeyPatch, broker: MemoryBroker) -> Iterator[None]:
    """What connects, connects to this broker."""
    with monkeypatch.context() as patched:
        patched.setattr(connection_module.aio_pika, "connect", broker.connect)
        yield


def virtually(monkeypatch: pytest.MonkeyPatch, main: Callable[[MemoryBroker], Awaitable[None]]) -> None:
    """Run a test with a broker of its own, in virtual time: what waits for ever fails at once."""

    async def run() -> None:
        broker = MemoryBroker()
        with reachable(monkeypatch, broker):
            async with asyncio.timeout(3600):
                await main(broker)

    run_virtually(run)
