"""A broker that an earlier version set up, brought up to date with messages in its queues; broken off at every step."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.abc import AbstractChannel
from wavecom_common.events import routing
from wavecom_common.kernel.errors import Draining, Refused, Retryable, Unavailable, Unroutable
from wavecom_common.kernel.retrying import until_available
from wavecom_common.messaging import migration, topology
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.headers import REASON_HEADER, RETURNS_HEADER
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import ACK, Outcome
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.messaging.topology import Queue, Topology
from wavecom_common.testing.broker import consuming, depth, messages, publishing, taken
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

WAIT_MS = 600_000
PLAN = topology.plan([WAIT_MS])
RETRY = routing.retry_name(WAIT_MS)
DEAD = routing.dead_queue(routing.PROJECTOR_QUEUE)
EACH = 5
migrate = partial(migration.migrate, quiet_s=0)


def as_before() -> Topology:
    """As commit cd1cc7d declared it.

    Dead letters without a delivery limit, requests bound to the dispatcher, waits behind fanout exchanges.
    """

    def before(queue: Queue) -> Queue:
        arguments = dict(queue.arguments)
        if queue.name.endswith(routing.dead_queue("")):
            del arguments["x-delivery-limit"]
        bindings = topology.OBSOLETE_BINDINGS.get(queue.name, ())
        return replace(queue, arguments=arguments, bindings=(*bindings, *queue.bindings))

    return fanned_out(replace(PLAN, queues=[before(queue) for queue in PLAN.queues]))


def fanned_out(planned: Topology) -> Topology:
    """The same with its waits behind fanout exchanges."""
    queues = [
        replace(queue, bindings=((queue.name, ""),)) if queue.name == RETRY else queue for queue in planned.queues
    ]
    return replace(planned, exchanges={**planned.exchanges, RETRY: ExchangeType.FANOUT}, queues=queues)


def with_room_for(count: int, *names: str) -> Topology:
    """These queues as a version with another limit had them."""
    return replace(
        PLAN,
        queues=[
            replace(queue, arguments={**queue.arguments, "x-max-length": count}) if queue.name in names else queue
            for queue in PLAN.queues
        ],
    )


def of(planned: Topology, names: Sequence[str]) -> Topology:
    """These queues of it only."""
    return replace(planned, queues=[queue for queue in planned.queues if queue.name in names])


@asynccontextmanager
async def an_amqp_channel(url: str) -> AsyncIterator[AbstractChannel]:
    async with connected(url, "test") as connection:
        yield await connection.channel(publisher_confirms=True, on_return_raises=True)


async def put(url: str, planned: Topology, names: Sequence[str]) -> None:
    """Some messages into each queue, by its own binding."""
    async with an_amqp_channel(url) as channel:
        for queue in planned.queues:
            if queue.name in names:
                exchange, key = queue.bindings[-1]
                target = await channel.get_exchange(exchange, ensure=False)
                for number in range(EACH):
                    message = Message(
                        f"{queue.name} {number}".encode(),
                        message_id=f"id of {number}",
                        headers={REASON_HEADER: "as it was", "number": number},
                        content_type="test",
                        content_encoding="none",
                        delivery_mode=DeliveryMode.PERSISTENT,
                    )
                    key = key if key not in ("", "#") else "notification.dispatched.email.high"
                    await target.publish(message, key, mandatory=True)


async def bodies(url: str, queue: str) -> Counter[str]:
    return Counter(message.body.decode() for message in await messages(url, queue))


def expected(queue: str) -> set[str]:
    return {f"{queue} {number}" for number in range(EACH)}


def on_the_broker(broker_url: str, management_url: str) -> tuple[dict[str, Any], set[tuple[str, str, str]]]:
    """Arguments by queue, and (exchange, queue, key) of every binding."""
    vhost = urlsplit(broker_url).path
    with httpx.Client(base_url=management_url, timeout=30) as api:
        queues = api.get(f"/api/queues{vhost}").raise_for_status().json()
        bound = api.get(f"/api/bindings{vhost}").raise_for_status().json()
    return (
        {queue["name"]: queue["arguments"] for queue in queues},
        {(one["source"], one["destination"], one["routing_key"]) for one in bound if one["source"]},
    )


def exchanges(broker_url: str, management_url: str) -> dict[str, str]:
    """The types of our exchanges, by name."""
    with httpx.Client(base_url=management_url, timeout=30) as api:
        found = api.get(f"/api/exchanges{urlsplit(broker_url).path}").raise_for_status().json()
    return {one["name"]: one["type"] for one in found if one["name"].startswith("wavecom.")}


def as_planned(planned: Topology) -> tuple[dict[str, Any], set[tuple[str, str, str]]]:
    return (
        {queue.name: dict(queue.arguments) for queue in planned.queues},
        {(exchange, queue.name, key) for queue in planned.queues for exchange, key in queue.bindings},
    )


async def test_a_broker_of_an_earlier_version_is_named_as_what_it_is_and_brought_up_to_date(
    broker_url: str, management_url: str
) -> None:
    before = as_before()
    await topology.apply(broker_url, before, settle_s=0)
    async with an_amqp_channel(broker_url) as channel:
        # `apply` takes the binding away again.
        await topology.bind(channel, routing.DISPATCHER_QUEUE, topology.OBSOLETE_BINDINGS[routing.DISPATCHER_QUEUE])
    names = [queue.name for queue in PLAN.queues]
    await put(broker_url, PLAN, names)

    with pytest.raises(Refused) as refused:
        await topology.apply(broker_url, PLAN, settle_s=0)
    assert f"queue {DEAD} has x-delivery-limit none on the broker, and 1000000 is wanted" in str(refused.value)
    assert str(refused.value).endswith("run `wavecom topology migrate`")

    migrated = await migrate(broker_url, PLAN, wait_s=0, settle_s=0)

    assert exchanges(broker_url, management_url) == {name: kind.value for name, kind in PLAN.exchanges.items()}
    assert set(migrated) == {name for name in names if name.endswith(".dead")}
    assert on_the_broker(broker_url, management_url) == as_planned(PLAN)
    for name in names:
        assert set(await bodies(broker_url, name)) == expected(name)
    await topology.apply(broker_url, PLAN, settle_s=0)
    assert await migrate(broker_url, PLAN, wait_s=0, settle_s=0) == []


@pytest.mark.timeout(180)
async def test_whoever_publishes_into_a_wait_while_its_exchange_is_replaced_publishes_again(
    broker_url: str, management_url: str
) -> None:
    """Fifty at a time while the exchange goes back and forth; all that is confirmed is there."""
    waiting: list[Event] = []
    errors: list[Exception] = []
    done = asyncio.Event()

    async def publish(publisher: EventPublisher) -> None:
        with suppress(Draining):
            while not done.is_set():
                event = a_dispatch()
                # As consumers do.
                step = partial(publisher.publish_later, [event], delay_ms=WAIT_MS)
                await until_available(step, stop=done, tell=errors.append)
                waiting.append(event)

    before = fanned_out(PLAN)
    await topology.apply(broker_url, before, settle_s=0)
    async with publishing(broker_url) as publisher, asyncio.TaskGroup() as publishers:
        for _ in range(50):
            publishers.create_task(publish(publisher))
        for number in range(6):
            count = len(waiting)
            # One whose message was returned looks again for a binding after ten seconds.
            await eventually(lambda count=count: len(waiting) > count, timeout_s=20)
            await topology.apply(broker_url, PLAN if number % 2 == 0 else before, settle_s=0)
        await topology.apply(broker_url, PLAN, settle_s=0)
        count = len(waiting)
        await eventually(lambda: len(waiting) > count + 50, timeout_s=20)
        done.set()

    assert {type(error) for error in errors} <= {Unavailable, Unroutable}
    assert exchanges(broker_url, management_url)[RETRY] == "topic"
    found = Counter(event.event_id for event in await taken(broker_url, RETRY))
    assert {event.event_id for event in waiting} <= found.keys()


@pytest.mark.parametrize("broken_off", ["before it is declared", "before it is bound"])
async def test_a_replacement_that_was_broken_off_is_finished_by_the_next(broker_url: str, broken_off: str) -> None:
    await topology.apply(broker_url, fanned_out(PLAN), settle_s=0)
    await put(broker_url, PLAN, [RETRY])
    async with an_amqp_channel(broker_url) as channel:
        await channel.exchange_delete(RETRY)
        if broken_off == "before it is bound":
            await channel.declare_exchange(RETRY, ExchangeType.TOPIC, durable=True)
    event = a_dispatch()
    async with publishing(broker_url) as publisher:
        with pytest.raises(Retryable):
            await publisher.publish_later([event], delay_ms=WAIT_MS, timeout_s=1)
        await topology.apply(broker_url, PLAN, settle_s=0)
        await eventually(lambda: publisher.ready() is None, timeout_s=20)
        await publisher.publish_later([event], delay_ms=WAIT_MS, timeout_s=10)

    assert len(await messages(broker_url, RETRY)) == EACH + 1


async def test_an_exchange_is_replaced_while_the_migration_of_its_queue_is_broken_off(broker_url: str) -> None:
    await topology.apply(broker_url, fanned_out(with_room_for(99, RETRY)), settle_s=0)
    await put(broker_url, PLAN, [RETRY])

    def die(_: str, step: str) -> None:
        if step.startswith("declaring the queue as planned"):
            raise KeyError("killed")

    with pytest.raises(KeyError):
        await migrate(broker_url, fanned_out(PLAN), wait_s=0, settle_s=0, on_progress=die)
    with pytest.raises(Refused, match=f"the migration of queue {RETRY} was broken off"):
        await topology.apply(broker_url, PLAN, settle_s=0)
    async with publishing(broker_url) as publisher:
        await publisher.publish_later([a_dispatch()], delay_ms=WAIT_MS, timeout_s=10)
    await migrate(broker_url, PLAN, wait_s=0, settle_s=0)

    assert len(await messages(broker_url, RETRY)) == EACH + 1


async def test_a_message_keeps_its_properties_its_key_and_how_often_it_came_back(broker_url: str) -> None:
    await topology.apply(broker_url, with_room_for(99, RETRY, DEAD), settle_s=0)
    await put(broker_url, PLAN, [RETRY, DEAD])
    async with an_amqp_channel(broker_url) as channel:
        dead = await channel.get_queue(DEAD, ensure=False)
        for _ in range(3):
            await (await dead.get()).nack(requeue=True)

    await migrate(broker_url, PLAN, wait_s=0, settle_s=0)

    waiting = (await messages(broker_url, RETRY))[0]
    assert waiting.routing_key == "notification.dispatched.email.high"
    assert (waiting.content_type, waiting.content_encoding, waiting.delivery_mode) == ("test", "none", 2)
    assert waiting.headers[REASON_HEADER] == "as it was"
    assert sum(int(str(one.headers.get(RETURNS_HEADER, 0))) for one in await messages(broker_url, DEAD)) == 3


@pytest.mark.timeout(180)
async def test_broken_off_at_any_step_it_goes_on_and_loses_nothing(broker_url: str, management_url: str) -> None:
    names = [routing.sender_queue("sms", "high"), RETRY]
    plan, before = of(PLAN, names), of(with_room_for(99, *names), names)
    steps: list[str] = []

    async def anew() -> None:
        async with an_amqp_channel(broker_url) as channel:
            for name in names:
                await channel.queue_delete(name)
        await topology.apply(broker_url, before, settle_s=0)
        await put(broker_url, plan, names)

    await anew()
    await migrate(broker_url, plan, wait_s=0, settle_s=0, on_progress=lambda _, step: steps.append(step))
    assert len(steps) == 10 * len(names)

    for place in range(len(steps)):
        await anew()
        left = place

        def die(_: str, __: str) -> None:
            nonlocal left
            if left == 0:
                raise KeyError("killed")
            left -= 1

        with pytest.raises(KeyError):
            await migrate(broker_url, plan, wait_s=0, settle_s=0, on_progress=die)
        await put(broker_url, plan, names)
        await migrate(broker_url, plan, wait_s=0, settle_s=0)

        assert on_the_broker(broker_url, management_url) == as_planned(plan)
        for name in names:
            found = await bodies(broker_url, name)
            assert set(found) == expected(name), steps[place]
            assert min(found.values()) >= 2, steps[place]


async def test_a_migration_that_was_broken_off_is_named_by_apply(broker_url: str) -> None:
    await topology.apply(broker_url, with_room_for(99, DEAD), settle_s=0)

    def die(_: str, step: str) -> None:
        if step.startswith("moving messages back"):
            raise KeyError("killed")

    with pytest.raises(KeyError):
        await migrate(broker_url, PLAN, wait_s=0, settle_s=0, on_progress=die)

    with pytest.raises(Refused, match=f"the migration of queue {DEAD} was broken off: run `wavecom topology migrate`"):
        await topology.apply(broker_url, PLAN, settle_s=0)


async def test_a_queue_is_not_taken_from_its_consumers_and_what_they_held_comes_along(broker_url: str) -> None:
    await topology.apply(broker_url, with_room_for(99, routing.DISPATCHER_QUEUE), settle_s=0)
    held: list[Incoming] = []

    async def hold(incoming: Incoming) -> Sequence[Outcome]:
        held.append(incoming)
        await asyncio.Event().wait()
        return [ACK]

    async with publishing(broker_url) as publisher, consuming(broker_url, hold, publisher) as consumer:
        await publisher.publish([a_request()], timeout_s=10)
        await eventually(lambda: held)
        with pytest.raises(Refused, match=f"1 consumers still read {routing.DISPATCHER_QUEUE}: stop its service"):
            await migrate(broker_url, PLAN, wait_s=0.1, settle_s=0)
        await publisher.publish([a_request()], timeout_s=10)
        migrating = asyncio.create_task(migrate(broker_url, PLAN, wait_s=60, settle_s=0))
        # Killed: what it held is ready again.
        await consumer.close()
        assert await migrating == [routing.DISPATCHER_QUEUE]

    assert await depth(broker_url, routing.DISPATCHER_QUEUE) == 2
