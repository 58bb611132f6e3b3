"""How much waits for the readers of a queue, by a broker that may not know, and while the queue is made anew."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aio_pika import Message
from aio_pika.abc import AbstractChannel
from aio_pika.channel import Channel
from aiormq.exceptions import ChannelAccessRefused
from wavecom_common.events import routing
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.depths import Believed, Depth, QueueDepths, QueueProbe
from wavecom_common.testing.broker import messages
from wavecom_common.testing.waiting import eventually

QUEUE = routing.sender_queue("email", "high")
SECOND = topology.migrating_name(QUEUE)
PLAN = topology.plan([1000])
[PLANNED] = [queue for queue in PLAN.queues if queue.name == QUEUE]


@asynccontextmanager
async def an_amqp_channel(url: str) -> AsyncIterator[AbstractChannel]:
    async with connected(url, "test") as connection:
        yield await connection.channel()


async def put(url: str, queue: str, count: int) -> None:
    async with an_amqp_channel(url) as channel:
        for _ in range(count):
            await channel.default_exchange.publish(Message(b""), queue)


def test_a_doubtful_nought_counts_the_second_time() -> None:
    believed = Believed()
    looks = [
        (Depth(0, certain=False), 0),
        (Depth(7, certain=True), 7),
        (Depth(0, certain=False), 7),
        (Depth(6, certain=True), 6),
        (None, 6),
        (Depth(0, certain=False), 0),
        (Depth(5, certain=True), 5),
        (Depth(0, certain=True), 0),
        (Depth(4, certain=True), 4),
        (None, 4),
        (None, 0),
    ]
    assert [believed.after({"q": found}) for found, _ in looks] == [{"q": shown} for _, shown in looks]


async def test_a_queue_whose_leader_is_busy_is_not_reported_as_empty(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await topology.apply(broker_url, PLAN, settle_s=0)
    await put(broker_url, QUEUE, 5)
    reports: list[Mapping[str, int]] = []
    declare, busy = Channel.declare_queue, [False]

    async def declare_queue(channel: Channel, name: str, **more: Any) -> Any:
        found = await declare(channel, name, **more)
        if name == QUEUE and len(reports) in (3, 5):
            busy.append(True)
            found.declaration_result.message_count = 0
        return found

    monkeypatch.setattr(Channel, "declare_queue", declare_queue)
    depths = QueueDepths(broker_url, name="test", queues=[QUEUE], on_look=reports.append, interval_s=0.02)
    await depths.start()
    await eventually(lambda: len(reports) > 8)
    assert sum(busy) == 2
    assert reports == [{QUEUE: 5}] * len(reports)

    await messages(broker_url, QUEUE)
    await eventually(lambda: reports[-1] == {QUEUE: 0})
    await depths.close()


async def test_what_a_migration_keeps_beside_a_queue_counts_while_nobody_reads_it(broker_url: str) -> None:
    await topology.apply(broker_url, PLAN, settle_s=0)
    await put(broker_url, QUEUE, 2)
    async with connected(broker_url, "test") as connection:
        assert await QueueProbe(connection).depths([QUEUE, "none"]) == {QUEUE: Depth(2, certain=True), "none": None}
        await topology.declare(connection, PLANNED, name=SECOND)
        await put(broker_url, SECOND, 3)
        await eventually(lambda: _is(connection, Depth(5, certain=True)))
        assert await QueueProbe(connection).depths([QUEUE], migrating=False) == {QUEUE: Depth(2, certain=True)}

        async with an_amqp_channel(broker_url) as channel:
            # One that holds nothing: what it reads is its own affair.
            await channel.set_qos(1)
            await (await channel.get_queue(QUEUE)).consume(_hold)
            await eventually(lambda: _is(connection, Depth(1, certain=True)))
            await channel.queue_delete(QUEUE)
        assert await _is(connection, Depth(3, certain=True))


async def _is(connection: Any, depth: Depth) -> bool:
    return await QueueProbe(connection).depths([QUEUE]) == {QUEUE: depth}


async def _hold(_: object) -> None:
    pass


async def test_a_queue_that_is_not_there_is_asked_for_seldom(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await topology.apply(broker_url, PLAN, settle_s=0)
    asked: list[str] = []
    declare = Channel.declare_queue

    async def declare_queue(channel: Channel, name: str, **more: Any) -> Any:
        asked.append(name)
        return await declare(channel, name, **more)

    async with connected(broker_url, "test") as connection:
        monkeypatch.setattr(Channel, "declare_queue", declare_queue)
        probe = QueueProbe(connection)
        for _ in range(3):
            await probe.depths([QUEUE])

    assert asked == [QUEUE, SECOND, QUEUE, QUEUE]


async def test_who_may_not_ask_for_it_goes_by_the_queue_alone(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await topology.apply(broker_url, PLAN, settle_s=0)
    declare = Channel.declare_queue

    async def declare_queue(channel: Channel, name: str, **more: Any) -> Any:
        if name == SECOND:
            await channel.close()
            raise ChannelAccessRefused
        return await declare(channel, name, **more)

    async with connected(broker_url, "test") as connection:
        monkeypatch.setattr(Channel, "declare_queue", declare_queue)
        probe = QueueProbe(connection)
        for _ in range(2):
            assert await probe.depths([QUEUE]) == {QUEUE: Depth(0, certain=False)}
