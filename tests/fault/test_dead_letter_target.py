"""What waits in the broker comes when its time is over, also when its queue was gone then or the broker was killed."""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from wavecom_common.events import routing
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.migration import migrate
from wavecom_common.testing.broker import depth, publishing, taken
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually
from wavecom_stack import packages, rabbitmq
from wavecom_stack.folder import RunFolder
from wavecom_stack.infra import MONGODB_URL, RABBITMQ_URL
from wavecom_stack.ports import free_ports
from wavecom_stack.stack import Stack
from wavecom_stack.waiting import wait_until

QUEUE = routing.sender_queue("sms", "medium")
RETRY = routing.retry_name(1000)
# How often the broker tries again to pass on what is due: 2 s in place of its 180 s.
IMPATIENT = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 2000}]}].\n"


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[tuple[Stack, rabbitmq.PrivateBroker]]:
    """A broker of the test's own, to be killed; and how often it tries is a setting of the whole server."""
    folder = RunFolder(tmp_path)
    if rabbitmq.find_server() is None:
        packages.install(["rabbitmq-server"], tmp_path / "install.log", print)
    server = rabbitmq.find_server()
    assert server is not None
    broker = rabbitmq.PrivateBroker.plan(server, folder, free_ports())
    # No database is asked for anything.
    stack = Stack(folder, {**os.environ, RABBITMQ_URL: broker.url, MONGODB_URL: "mongodb://127.0.0.1:1/"}, print)
    try:
        folder.create()
        broker.prepare()
        (folder.data("rabbitmq") / "advanced.config").write_text(IMPATIENT)
        stack.supervisor.start(broker.programs(), os.environ)
        for program in broker.programs():
            stack.supervisor.start_stage(program.stage)
        wait_until(broker.not_ready, timeout_s=120)
        yield stack, broker
    finally:
        stack.stop()


@pytest.mark.timeout(240)
async def test_what_is_due_while_its_queue_is_gone_is_held_and_comes_when_the_queue_is_back(
    own_broker: tuple[Stack, rabbitmq.PrivateBroker],
) -> None:
    url = own_broker[1].url
    await topology.apply(url, topology.plan([1000]))
    async with connected(url, "test") as connection:
        channel = await connection.channel()
        await channel.queue_delete(QUEUE)
    event = a_dispatch(request=a_request(channel="sms"))
    async with publishing(url) as publisher:
        await publisher.publish_message(RETRY, routing.direct_key(QUEUE), publisher.message([event]))

    async def due() -> bool:
        return await depth(url, RETRY) == 0

    await eventually(due, timeout_s=30, what="the end of the wait")
    assert await depth(url, QUEUE) is None
    await topology.apply(url, topology.plan([1000]))

    async def there() -> bool:
        return await depth(url, QUEUE) == 1

    await eventually(there, timeout_s=60, what="the message")


@pytest.mark.timeout(240)
async def test_what_waits_in_a_queue_just_made_comes_after_the_broker_was_killed(
    own_broker: tuple[Stack, rabbitmq.PrivateBroker],
) -> None:
    stack, broker = own_broker
    everything = topology.plan([5000])
    # Only these two, so that nothing else takes up the half second in which a new queue is not safe yet.
    way = [queue for queue in everything.queues if queue.name in (QUEUE, routing.retry_name(5000))]
    await topology.apply(broker.url, replace(everything, queues=way))
    events = [a_dispatch(request=a_request(channel="sms")) for _ in range(1500)]
    async with publishing(broker.url, max_events=1) as publisher:
        await publisher.publish_later(events, delay_ms=5000, timeout_s=60)
    pid = stack.supervisor.pid("rabbitmq")
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not psutil.pid_exists(pid), timeout_s=30, what="the broker's end")
    await asyncio.to_thread(wait_until, broker.not_ready, timeout_s=120)

    come: set[str] = set()

    async def all_there() -> bool:
        come.update(event.event_id for event in await taken(broker.url, QUEUE))
        return len(come) == len(events)

    await eventually(all_there, timeout_s=60, what="everything that waited")
    assert come == {event.event_id for event in events}


@pytest.mark.timeout(240)
async def test_what_the_broker_has_yet_to_send_again_outlives_the_queue_it_is_kept_in(
    own_broker: tuple[Stack, rabbitmq.PrivateBroker],
) -> None:
    """Of those that expire some find their next queue full, which has room again when the first one is made anew."""
    url = own_broker[1].url
    planned = _with_room_for(200, topology.plan([1000]), QUEUE)
    await topology.apply(url, _with_room_for(5000, planned, RETRY))
    events = [a_dispatch(request=a_request(channel="sms")) for _ in range(300)]
    async with publishing(url, max_events=1) as publisher:
        await publisher.publish_later(events, delay_ms=1000, timeout_s=60)

    async def full() -> bool:
        # Some more are taken before the limit is noticed.
        return await depth(url, RETRY) == 0 and (await depth(url, QUEUE) or 0) >= 200

    await eventually(full, timeout_s=30, what="the end of the wait")
    come = {event.event_id for event in await taken(url, QUEUE)}
    assert len(come) < len(events)

    assert await migrate(url, planned, wait_s=30, settle_s=0, quiet_s=5) == [RETRY]

    come.update(event.event_id for event in await taken(url, QUEUE))
    assert come == {event.event_id for event in events}


def _with_room_for(count: int, planned: topology.Topology, name: str) -> topology.Topology:
    return replace(
        planned,
        queues=[
            replace(queue, arguments={**queue.arguments, "x-max-length": count}) if queue.name == name else queue
            for queue in planned.queues
        ],
    )
