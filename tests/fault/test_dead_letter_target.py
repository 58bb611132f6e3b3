"""The queue that a wait leads back to is gone when the wait is over: the broker keeps the message until it is there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from wavecom_common.events import routing
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.publisher import EventPublisher
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
def impatient_broker(tmp_path: Path) -> Iterator[str]:
    """A broker of the test's own: how often it tries is a setting of the whole server."""
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
        yield broker.url
    finally:
        stack.stop()


async def waiting(url: str, queue: str) -> int | None:
    async with connected(url, "test") as connection:
        return (await topology.message_counts(connection, [queue]))[queue]


@pytest.mark.timeout(240)
async def test_what_is_due_while_its_queue_is_gone_is_held_and_comes_when_the_queue_is_back(
    impatient_broker: str,
) -> None:
    url = impatient_broker
    await topology.apply(url, topology.plan([1000]))
    async with connected(url, "test") as connection:
        channel = await connection.channel()
        await channel.queue_delete(QUEUE)
    event = a_dispatch(request=a_request(channel="sms"))
    publisher = EventPublisher(url, name="test", required_queues=[])
    await publisher.start()
    await publisher.publish_message(RETRY, routing.direct_key(QUEUE), publisher.message([event]))
    await publisher.close()

    async def due() -> bool:
        return await waiting(url, RETRY) == 0

    await eventually(due, timeout_s=30, what="the end of the wait")
    assert await waiting(url, QUEUE) is None
    await topology.apply(url, topology.plan([1000]))

    async def there() -> bool:
        return await waiting(url, QUEUE) == 1

    await eventually(there, timeout_s=60, what="the message")
