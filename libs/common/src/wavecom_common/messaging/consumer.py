"""Consuming queues so that a message is acknowledged only when every event in it is dealt with.

The client library's callback only starts a task of ours: the library cancels its own callbacks when a link is lost,
and a provider call must not end half-way. Whatever is not acknowledged the broker gives out again.
Source: https://www.rabbitmq.com/docs/consumers, https://www.rabbitmq.com/docs/confirms
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import aiormq
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.component import Component
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.kernel.tasks import spawn_vital
from wavecom_common.messaging.acks import Acks
from wavecom_common.messaging.connection import (
    broker_errors,
    first_of,
    keep_session,
    lost,
    node_of,
    setting_up,
    stopped,
)
from wavecom_common.messaging.depths import CHECK_INTERVAL_S, DOUBT_AFTER_S, QueueProbe
from wavecom_common.messaging.handling import Handling
from wavecom_common.messaging.headers import delivery_count, past_of
from wavecom_common.messaging.held import HeldMessages
from wavecom_common.messaging.incoming import GiveUp, Handler, Link, Raw, dead_letter
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.messaging.settlement import Settlement
from wavecom_common.telemetry import metrics
from wavecom_common.telemetry.logs import get_logger

_log = get_logger()


class Consumer(Component):
    """Reads queues and has every message handled, many at a time; a component of a process.

    Guarantee: every event is handled at least once, in no order. At most `prefetch` messages of each queue are held,
    and those of a lost link only as long as they are at work: none waits for anything any more.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        queues: Sequence[str],
        prefetch: int,
        handler: Handler,
        publisher: EventPublisher,
        retry_delay_ms: int,
        give_up: GiveUp = dead_letter,
        handler_traces: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`handler_traces`: the handler opens the spans of what it is given itself, by batches and not by messages."""
        self._url = url
        self._name = f"{name} consumer"
        self._queues = queues
        self._prefetch = prefetch
        self._draining = asyncio.Event()
        # Of the session there is.
        self._link = Link()
        self.held_messages = HeldMessages()
        self._handling = Handling(
            handler,
            Settlement(publisher, clock),
            retry_delay_ms=retry_delay_ms,
            draining=self._draining,
            give_up=give_up,
            held=self.held_messages,
            handler_traces=handler_traces,
        )
        self._processing: set[asyncio.Task[None]] = set()
        self._consuming = False
        self._probe: QueueProbe | None = None
        self._missing: list[str] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to connect and consume; `ready()` reports when it is done."""
        self._task = spawn_vital(keep_session(self._url, self._name, self._session, self._draining), self._name)

    def ready(self) -> str | None:
        """None, or why nothing is consumed now."""
        if self._missing:
            return f"queue {self._missing[0]} is missing: run `wavecom topology apply`"
        if self._probe is None or not self._consuming:
            return "not consuming"
        silent_s = self._probe.unanswered_s()
        return f"the broker has not answered for {silent_s:.0f} s" if silent_s > DOUBT_AFTER_S else None

    @property
    def held(self) -> int:
        """How many messages are in hand, over whichever link they came."""
        return len(self._processing)

    async def drain(self) -> None:
        """Take no new messages, and return when those begun are dealt with or left to the broker."""
        self._draining.set()
        self._link.abandoned.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._processed()

    async def close(self) -> None:
        """Close the link; the broker gives out again what is not acknowledged."""
        self._draining.set()
        tasks = [*self._processing, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _session(self, connection: AbstractConnection) -> str | None:
        self._probe = probe = QueueProbe(connection)
        self._link = link = Link()
        try:
            async with setting_up():
                await self._observe(probe)
                if self._missing:
                    _log.error("queues_missing", queues=self._missing)
                    return None
                channel = await connection.channel()
                await channel.set_qos(self._prefetch)
                acks = await _acks(channel)
                tags = [await self._consume(channel, queue, acks, link) for queue in self._queues]
            self._consuming = True
            _log.info("consuming", connection=self._name, node=node_of(connection), queues=list(self._queues))
            cause = await first_of(
                lost(connection, channel), stopped(self._draining), self._keep_observing(probe, channel, tags)
            )
            if cause is None:
                await self._stop(channel, tags, acks)
            return cause
        finally:
            self._consuming = False
            self._probe = None
            link.lose()

    async def _keep_observing(self, probe: QueueProbe, channel: AbstractChannel, tags: Sequence[str]) -> str:
        while await _still_consumed(channel, tags):
            await SYSTEM_CLOCK.sleep(CHECK_INTERVAL_S)
            await self._observe(probe)
        return f"the broker cancelled a consumer of {', '.join(self._queues)}"

    async def _stop(self, channel: AbstractChannel, tags: Sequence[str], acks: Acks) -> None:
        self._consuming = False
        for queue, tag in zip(self._queues, tags, strict=True):
            await (await channel.get_queue(queue, ensure=False)).cancel(tag)
        # Others need not wait for it until the slowest of ours has ended.
        await acks.give_back_left()
        await self._processed()
        await acks.flush()

    async def _processed(self) -> None:
        if self._processing:
            await asyncio.wait(self._processing)

    async def _consume(self, channel: AbstractChannel, name: str, acks: Acks, link: Link) -> str:
        async def on_message(message: AbstractIncomingMessage) -> None:
            assert message.delivery_tag is not None
            acks.delivered(message.delivery_tag)
            if self._draining.is_set():
                acks.leave(message.delivery_tag)
            else:
                task = asyncio.create_task(self._process(_raw(name, message), acks, message.delivery_tag, link))
                self._processing.add(task)
                task.add_done_callback(self._processing.discard)

        queue = await channel.declare_queue(name, passive=True)
        return await queue.consume(on_message)

    async def _process(self, raw: Raw, acks: Acks, tag: int, link: Link) -> None:
        if await self._handling.process(raw, link):
            acks.finish(tag)
        else:
            acks.leave(tag)

    async def _observe(self, probe: QueueProbe) -> None:
        counts = await probe.counts(self._queues)
        self._missing = [queue for queue, count in counts.items() if count is None]
        for queue, count in counts.items():
            metrics.QUEUE_DEPTH.labels(queue).set(count or 0)


async def _still_consumed(channel: AbstractChannel, tags: Sequence[str]) -> bool:
    # The broker cancels a consumer whose queue is deleted or loses its leader, and gives it nothing any more.
    underlay = await channel.get_underlay_channel()
    assert isinstance(underlay, aiormq.Channel)
    return all(tag in underlay.consumers for tag in tags)


async def _acks(channel: AbstractChannel) -> Acks:
    underlay = await channel.get_underlay_channel()

    async def write(tag: int, multiple: bool) -> None:
        with _unless_lost(tag):
            await underlay.basic_ack(tag, multiple=multiple)

    async def give_back(tag: int) -> None:
        with _unless_lost(tag):
            await underlay.basic_nack(tag, requeue=True)

    return Acks(write, give_back)


@contextmanager
def _unless_lost(tag: int) -> Iterator[None]:
    try:
        with broker_errors():
            yield
    except Unavailable:
        # The link is gone, and the broker gives the message out again.
        _log.debug("ack_lost", tag=tag)


def _raw(queue: str, message: AbstractIncomingMessage) -> Raw:
    return Raw(
        queue=queue,
        message_id=message.message_id or "",
        body=message.body,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        delivery_count=delivery_count(message.headers),
        past=past_of(message.headers),
    )
