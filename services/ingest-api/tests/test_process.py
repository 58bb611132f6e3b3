"""The process as it is wired, on a real broker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from ingest_api.bootstrap import build
from ingest_api.routes import NOTIFICATIONS
from ingest_api.settings import IngestSettings
from wavecom_common.events.routing import DISPATCHER_QUEUE, PROJECTOR_QUEUE
from wavecom_common.kernel.component import Component
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import connected
from wavecom_common.testing.waiting import eventually

BODY = {"recipient": "user@example.com", "message": "Hello", "channel": "email"}

pytestmark = pytest.mark.connected


@asynccontextmanager
async def running(broker_url: str, **settings: object) -> AsyncIterator[tuple[list[Component], httpx.AsyncClient]]:
    """The process's components, started, and a client of its API."""
    components = list(build(IngestSettings(rabbitmq_url=broker_url, http_port=0, accept_timeout_s=2, **settings)))
    for component in components:
        await component.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{components[-1].port}") as client:
        yield components, client
    for component in reversed(components):
        await component.drain()
    for component in reversed(components):
        await component.close()


@pytest.fixture
async def queues(broker_url: str) -> None:
    await topology.apply(broker_url, topology.plan([1_000]), settle_s=0)


async def is_ready(components: list[Component]) -> None:
    await eventually(lambda: all(component.ready() is None for component in components), what="readiness")


@pytest.mark.usefixtures("queues")
async def test_an_accepted_notification_is_in_every_queue_that_needs_it(broker_url):
    async with running(broker_url) as (components, client):
        await is_ready(components)
        answer = await client.post(NOTIFICATIONS, json=BODY)

    assert answer.status_code == 201
    async with connected(broker_url, "test") as connection:
        counts = await topology.message_counts(connection, [DISPATCHER_QUEUE, PROJECTOR_QUEUE])
    assert counts == {DISPATCHER_QUEUE: 1, PROJECTOR_QUEUE: 1}


async def test_without_its_queues_the_process_is_not_ready_and_accepts_nothing(broker_url):
    async with running(broker_url) as (components, client):
        await eventually(lambda: "topology apply" in (components[0].ready() or ""), what="the look at the queues")
        answer = await client.post(NOTIFICATIONS, json=BODY)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"


@pytest.mark.usefixtures("queues")
async def test_the_process_is_ready_without_the_query_service(broker_url, unused_tcp_port):
    async with running(broker_url, status_query_target=f"dns:///127.0.0.1:{unused_tcp_port}") as (components, client):
        await is_ready(components)
        answer = await client.get(NOTIFICATIONS)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


@pytest.mark.usefixtures("queues")
async def test_what_waits_in_the_queues_closes_the_door_and_opens_it_again(broker_url):
    async def statuses(client: httpx.AsyncClient) -> list[int]:
        posts = [await client.post(NOTIFICATIONS, json=BODY | {"priority": name}) for name in ("low", "medium", "high")]
        return [answer.status_code for answer in posts]

    settings = {"backlog_warning": 2, "backlog_critical": 4, "backlog_emergency": 20}
    async with running(broker_url, **settings) as (components, client):
        await is_ready(components)

        async def all_are_refused() -> bool:
            return await statuses(client) == [503, 503, 503]

        await eventually(all_are_refused, timeout_s=20, what="the emergency")
        async with connected(broker_url, "test") as connection:
            channel = await connection.channel()
            for name in (DISPATCHER_QUEUE, PROJECTOR_QUEUE):
                await (await channel.get_queue(name)).purge()

        async def all_are_taken() -> bool:
            return await statuses(client) == [201, 201, 201]

        await eventually(all_are_taken, what="the end of the emergency")
