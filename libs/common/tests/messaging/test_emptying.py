"""A queue is made anew only once it is sure that nothing is left in it, whatever the broker answers meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel
from aio_pika.channel import Channel
from wavecom_common.events import routing
from wavecom_common.kernel.errors import Refused, Unavailable
from wavecom_common.messaging import emptying, topology
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.migration import migrate
from wavecom_common.messaging.outcome import ACK, Outcome
from wavecom_common.messaging.topology import Topology
from wavecom_common.testing.broker import consuming, depth, messages, publishing
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.waiting import eventually

WAIT_MS = 2_000
PLAN = topology.plan([WAIT_MS])
RETRY = routing.retry_name(WAIT_MS)
SENDER = routing.sender_queue("email", "high")
DEAD = routing.dead_queue(routing.PROJECTOR_QUEUE)


def with_room_for(count: int, *names: str) -> Topology:
    """These queues as a version with another limit had them."""
    return replace(
        PLAN,
        queues=[
            replace(queue, arguments={**queue.arguments, "x-max-length": count}) if queue.name in names else queue
            for queue in PLAN.queues
        ],
    )


@asynccontextmanager
async def an_amqp_channel(url: str) -> AsyncIterator[AbstractChannel]:
    async with connected(url, "test") as connection:
        yield await connection.channel(publisher_confirms=True)


async def put(url: str, exchange: str, key: str, count: int) -> None:
    async with an_amqp_channel(url) as channel:
        target = await channel.get_exchange(exchange, ensure=False)
        for start in range(0, count, 500):
            numbers = range(start, min(start + 500, count))
            bodies = [Message(str(number).encode(), delivery_mode=DeliveryMode.PERSISTENT) for number in numbers]
            await asyncio.gather(*[target.publish(body, key) for body in bodies])


class BusyLeader:
    """A broker that answers looks at one queue as it does while the queue's leader is busy."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, queue: str) -> None:
        self.busy = True
        self.made_up = 0
        declare = Channel.declare_queue

        async def declare_queue(channel: Channel, name: str, *, passive: bool = False, **more: Any) -> Any:
            found = await declare(channel, name, passive=passive, **more)
            if passive and name == queue and self.busy:
                self.made_up += 1
                found.declaration_result.message_count = found.declaration_result.consumer_count = 0
            return found

        monkeypatch.setattr(Channel, "declare_queue", declare_queue)


async def hold(_: Incoming) -> Sequence[Outcome]:
    await asyncio.Event().wait()
    return [ACK]


async def test_what_consumers_hold_is_not_lost_when_the_broker_makes_up_that_there_are_none(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await topology.apply(broker_url, with_room_for(99, routing.DISPATCHER_QUEUE), settle_s=0)
    steps: list[str] = []
    async with publishing(broker_url) as publisher, consuming(broker_url, hold, publisher) as consumer:
        await publisher.publish([a_request()], timeout_s=10)
        await eventually(lambda: consumer.held_messages.oldest_ms(held_for_s=0))
        leader = BusyLeader(monkeypatch, routing.DISPATCHER_QUEUE)
        migrating = asyncio.create_task(
            migrate(broker_url, PLAN, wait_s=60, settle_s=0, quiet_s=0, on_progress=lambda _, step: steps.append(step))
        )
        await eventually(lambda: any(step.startswith("moving") for step in steps))
        seen = leader.made_up
        await eventually(lambda: leader.made_up > seen + 2)
        leader.busy = False
        await eventually(lambda: steps[-1] == "waiting for the 1 consumers to be stopped")
        await consumer.close()
        assert await migrating == [routing.DISPATCHER_QUEUE]

    assert await depth(broker_url, routing.DISPATCHER_QUEUE) == 1


async def test_a_leader_that_never_answers_ends_the_migration_and_another_one_goes_on(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await topology.apply(broker_url, with_room_for(99, DEAD), settle_s=0)
    await put(broker_url, routing.DEAD_EXCHANGE, routing.PROJECTOR_QUEUE, 3)
    leader = BusyLeader(monkeypatch, DEAD)
    monkeypatch.setattr(emptying, "_ANSWER_LIMIT_S", 1)

    with pytest.raises(Unavailable, match=f"the leader of queue {DEAD} has not answered for 1 s"):
        await migrate(broker_url, PLAN, wait_s=0, settle_s=0, quiet_s=0)
    leader.busy = False
    await migrate(broker_url, PLAN, wait_s=0, settle_s=0, quiet_s=0)

    assert len(await messages(broker_url, DEAD)) == 3


async def test_what_expires_meanwhile_and_is_being_dead_lettered_is_not_lost(broker_url: str) -> None:
    await topology.apply(broker_url, with_room_for(5_000, RETRY), settle_s=0)
    await put(broker_url, RETRY, "notification.dispatched.email.high", 2_000)

    assert await migrate(broker_url, PLAN, wait_s=30, settle_s=0, quiet_s=3) == [RETRY]

    async def all_have_arrived() -> bool:
        return len(arrived) == 2_000 or bool(arrived.update([one.body for one in await messages(broker_url, SENDER)]))

    arrived: set[bytes] = set()
    await eventually(all_have_arrived, timeout_s=20)


async def test_while_a_queue_is_full_by_its_own_limit_nothing_is_begun(broker_url: str) -> None:
    before = with_room_for(5, DEAD)
    # The broker names one argument that differs, and not always this one.
    queues = [replace(queue, arguments={**queue.arguments, "x-delivery-limit": 7}) for queue in before.queues]
    await topology.apply(broker_url, replace(before, queues=queues), settle_s=0)
    await put(broker_url, routing.DEAD_EXCHANGE, routing.PROJECTOR_QUEUE, 5)
    steps: list[str] = []

    with pytest.raises(Refused, match=f"queue {DEAD} is full"):
        await migrate(broker_url, PLAN, wait_s=0, settle_s=0, on_progress=lambda _, step: steps.append(step))

    assert steps == []


async def test_a_queue_that_fills_up_meanwhile_ends_the_migration_before_another_is_deleted(broker_url: str) -> None:
    await topology.apply(broker_url, with_room_for(5, SENDER, RETRY), settle_s=0)
    steps: list[str] = []
    filling: list[asyncio.Task[None]] = []

    def fill(queue: str, step: str) -> None:
        steps.append(step)
        if queue == RETRY and step == "moving messages into the second queue":
            key = routing.direct_key(SENDER)
            filling.append(asyncio.create_task(put(broker_url, routing.EVENTS_EXCHANGE, key, 5)))

    with pytest.raises(Refused, match=f"queue {SENDER} is full"):
        await migrate(broker_url, PLAN, wait_s=0, settle_s=0, quiet_s=30, on_progress=fill)

    await filling[0]
    assert steps[-1] == "moving messages into the second queue"


async def test_a_queue_whose_service_runs_stays_as_it_is(broker_url: str) -> None:
    await topology.apply(broker_url, with_room_for(99, routing.DISPATCHER_QUEUE), settle_s=0)
    async with publishing(broker_url) as publisher, consuming(broker_url, hold, publisher) as consumer:
        await eventually(lambda: consumer.ready() is None)
        with pytest.raises(Refused, match=f"1 consumers still read {routing.DISPATCHER_QUEUE}: stop its service"):
            await migrate(broker_url, PLAN, wait_s=0.1, settle_s=0)
        assert await depth(broker_url, topology.migrating_name(routing.DISPATCHER_QUEUE)) is None
        await publisher.publish([a_request()], timeout_s=10)
        await eventually(lambda: consumer.held_messages.oldest_ms(held_for_s=0))
        await consumer.close()
