"""An error of a publish reports whether any of its events may be with the broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import pytest
from wavecom_common.events import routing
from wavecom_common.kernel.batcher import Batcher
from wavecom_common.kernel.errors import Overloaded, Retryable, Unavailable, Unroutable
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.testing.broker import publishing, taken
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.tcp_proxy import TcpProxy
from wavecom_common.testing.waiting import eventually


@pytest.fixture
async def broker(broker_url: str) -> str:
    await topology.apply(broker_url, topology.plan([1000]), settle_s=0)
    return broker_url


@asynccontextmanager
async def publishing_through_a_proxy(url: str) -> AsyncIterator[tuple[TcpProxy, EventPublisher]]:
    parts = urlsplit(url)
    login, _, _ = parts.netloc.rpartition("@")
    async with TcpProxy(parts.hostname or "", parts.port or 0) as proxy:
        near = urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{proxy.port}"))
        async with publishing(near) as publisher:
            yield proxy, publisher


async def refused(publisher: EventPublisher, error: type[Retryable], *, timeout_s: float = 10) -> bool:
    with pytest.raises(error) as raised:
        await publisher.publish([a_request()], timeout_s=timeout_s)
    return raised.value.handed_over


async def test_nothing_is_with_a_broker_that_was_never_reached() -> None:
    async with publishing("amqp://guest:guest@127.0.0.1:1/") as publisher:
        assert not await refused(publisher, Unavailable, timeout_s=0.3)


async def test_nothing_is_with_a_broker_whose_queue_is_known_to_be_missing(broker: str) -> None:
    async with publishing(broker, required=["no.such.queue"]) as publisher:
        await eventually(lambda: "no.such.queue" in (publisher.ready() or ""))
        assert not await refused(publisher, Unroutable)


async def test_what_is_sent_and_not_confirmed_in_time_may_be_there(broker: str) -> None:
    async with publishing_through_a_proxy(broker) as (proxy, publisher):
        await eventually(lambda: publisher.ready() is None)
        proxy.blackhole(True)
        assert await refused(publisher, Unavailable, timeout_s=0.5)


async def test_what_a_queue_refuses_may_be_in_another_one(broker: str) -> None:
    full = {"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"}
    async with connected(broker, "test full") as connection, publishing(broker) as publisher:
        queue = await (await connection.channel()).declare_queue("test.full", durable=True, arguments=full)
        await queue.bind(routing.EVENTS_EXCHANGE, "notification.requested")

        async def handed_over() -> bool:
            try:
                await publisher.publish([a_request()], timeout_s=10)
            except Overloaded as error:
                return error.handed_over
            return False

        await eventually(handed_over)


async def test_what_was_given_up_without_a_link_is_not_sent_when_there_is_one(broker: str) -> None:
    late = a_request()
    async with publishing_through_a_proxy(broker) as (proxy, publisher):
        proxy.refuse(True)
        proxy.cut()
        await eventually(lambda: publisher.ready() is not None)
        given_up = [asyncio.create_task(refused(publisher, Unavailable, timeout_s=0.5)) for _ in range(20)]
        assert await asyncio.gather(*given_up) == [False] * 20
        proxy.refuse(False)
        await publisher.publish([late])
    assert [event.event_id for event in await taken(broker, routing.PROJECTOR_QUEUE)] == [late.event_id]


async def test_a_batch_leaves_out_what_was_given_up_before_it_was_sent(broker: str) -> None:
    gone, kept = a_request(), a_request()
    async with publishing(broker) as publisher:
        await eventually(lambda: publisher.ready() is None)
        begun = asyncio.Event()
        flush = Batcher._run

        async def held(self: Batcher, batch: list) -> None:  # type: ignore[type-arg]
            begun.set()
            given_up.cancel()
            await asyncio.wait([given_up])
            await flush(self, batch)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Batcher, "_run", held)
            given_up = asyncio.create_task(publisher.publish([gone]))
            await asyncio.gather(publisher.publish([kept]), begun.wait())
    assert [event.event_id for event in await taken(broker, routing.PROJECTOR_QUEUE)] == [kept.event_id]
