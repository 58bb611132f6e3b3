"""The publisher and the consumer behind a network that cuts, refuses and swallows."""

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest
from wavecom_common.events import routing
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import broker_errors, connected
from wavecom_common.messaging.handling import LIMITS
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import ACK, Outcome
from wavecom_common.testing.broker import consuming as consuming_from
from wavecom_common.testing.broker import depth
from wavecom_common.testing.broker import publishing as publishing_with
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.waiting import eventually

from tests.proxied import proxied

PREFETCH = 20

publishing = partial(publishing_with, required=[routing.PROJECTOR_QUEUE])
consuming = partial(consuming_from, queue=routing.PROJECTOR_QUEUE, prefetch=PREFETCH)


@pytest.fixture
async def broker(broker_url: str) -> str:
    await topology.apply(broker_url, topology.plan([100, 1000]), settle_s=0)
    return broker_url


class Seen:
    """A handler that counts every event it is given."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    async def __call__(self, incoming: Incoming) -> Sequence[Outcome]:
        for event in incoming.events:
            self.counts[event.event_id] = self.counts.get(event.event_id, 0) + 1
        return [ACK] * len(incoming.events)


async def test_nothing_confirmed_is_lost_while_both_links_are_cut_again_and_again(broker: str) -> None:
    seen, confirmed = Seen(), set()
    async with (
        proxied(broker) as (near, near_url),
        proxied(broker) as (far, far_url),
        publishing(near_url) as publisher,
        consuming(far_url, seen, publisher),
    ):
        await eventually(lambda: publisher.ready() is None)

        async def one() -> None:
            event = a_request()
            await publisher.publish([event], timeout_s=20)
            confirmed.add(event.event_id)

        for _ in range(6):
            batch = [asyncio.create_task(one()) for _ in range(50)]
            await asyncio.wait(batch, return_when=asyncio.FIRST_COMPLETED)
            near.cut()
            far.cut()
            await asyncio.gather(*batch)
        await eventually(lambda: confirmed <= seen.counts.keys(), timeout_s=30)
    assert len(confirmed) == 300


async def test_a_link_that_swallows_everything_ends_a_publish_at_its_deadline(broker: str) -> None:
    async with proxied(broker) as (proxy, url), publishing(url) as publisher:
        await eventually(lambda: publisher.ready() is None)
        proxy.blackhole(True)
        with pytest.raises(Unavailable):
            await publisher.publish([a_request()], timeout_s=1)
        proxy.blackhole(False)
        await publisher.publish([a_request()], timeout_s=20)


async def test_while_the_broker_refuses_the_publisher_is_not_ready_and_comes_back_by_itself(broker: str) -> None:
    async with proxied(broker) as (proxy, url), publishing(url) as publisher:
        await eventually(lambda: publisher.ready() is None)
        proxy.refuse(True)
        proxy.cut()
        await eventually(lambda: publisher.ready() is not None)
        with pytest.raises(Unavailable):
            await publisher.publish([a_request()], timeout_s=0.5)
        proxy.refuse(False)
        await eventually(lambda: publisher.ready() is None, timeout_s=20)
        await publisher.publish([a_request()], timeout_s=5)


async def test_a_cut_link_does_not_cut_short_what_is_being_handled(broker: str) -> None:
    begun, finish, finished = asyncio.Event(), asyncio.Event(), 0

    async def handler(incoming: Incoming) -> Sequence[Outcome]:
        nonlocal finished
        begun.set()
        await finish.wait()
        finished += 1
        return [ACK] * len(incoming.events)

    async with (
        publishing(broker) as publisher,
        proxied(broker) as (proxy, url),
        consuming(url, handler, publisher) as consumer,
    ):
        await publisher.publish([a_request()], timeout_s=10)
        await begun.wait()
        begun.clear()
        proxy.cut()
        await begun.wait()  # given out again, on a fresh session
        await eventually(lambda: consumer.ready() is None)
        finish.set()
        await eventually(lambda: finished == 2)
        await eventually(lambda: empty(broker, routing.PROJECTOR_QUEUE))


async def empty(url: str, queue: str) -> bool:
    return await depth(url, queue) == 0


async def test_what_waits_for_the_database_while_links_are_cut_again_and_again_is_handled_when_it_is_back(
    broker: str,
) -> None:
    away, seen = True, Seen()

    async def handler(incoming: Incoming) -> Sequence[Outcome]:
        if away:
            raise Unavailable("the database is away")
        return await seen(incoming)

    requests = [a_request() for _ in range(20)]
    async with publishing(broker) as publisher, proxied(broker) as (proxy, url):
        for request in requests:
            await publisher.publish([request], timeout_s=10)
        async with consuming(url, handler, publisher) as consumer:
            # More often than a message may come back before it is quarantined.
            for _ in range(LIMITS.redeliveries + 5):
                await eventually(lambda: consumer.ready() is None, timeout_s=20)
                await eventually(lambda: consumer.held > 0)
                assert consumer.held <= PREFETCH
                proxy.cut()
                await eventually(lambda: consumer.ready() is not None, timeout_s=20)
            away = False
            await eventually(lambda: len(seen.counts) == len(requests), timeout_s=30, what="all of them")
    assert await empty(broker, routing.dead_queue(routing.PROJECTOR_QUEUE))


async def test_a_queue_that_is_deleted_and_made_again_is_consumed_again(broker: str) -> None:
    seen = Seen()
    async with publishing(broker) as publisher, consuming(broker, seen, publisher) as consumer:
        await eventually(lambda: consumer.ready() is None)
        async with connected(broker, "test") as connection:
            channel = await connection.channel()
            await channel.queue_delete(routing.PROJECTOR_QUEUE)
        await eventually(lambda: consumer.ready() is not None, timeout_s=30)
        await topology.apply(broker, topology.plan([100, 1000]), settle_s=0)
        await eventually(lambda: consumer.ready() is None, timeout_s=30)
        await eventually(lambda: publisher.ready() is None, timeout_s=30)
        event = a_request()
        await publisher.publish([event], timeout_s=20)
        await eventually(lambda: event.event_id in seen.counts)


@pytest.mark.parametrize(
    "answer", [b"", b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00\x00\x00\x00\x05hello\xce", b"HTTP/1.1 400\r\n\r\n"]
)
async def test_a_broker_that_hangs_up_during_the_handshake_is_unavailable(answer: bytes) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable):
            async with connected(f"amqp://guest:guest@127.0.0.1:{port}/", "test"):
                pass


@pytest.mark.parametrize(
    "thrown", [Exception("a link given up"), RuntimeError(), EOFError(), StopAsyncIteration(), OSError()]
)
def test_whatever_the_client_library_throws_at_a_lost_link_is_unavailable(thrown: Exception) -> None:
    with pytest.raises(Unavailable), broker_errors():
        raise thrown


async def test_a_cancellation_that_nobody_asked_for_is_unavailable() -> None:
    with pytest.raises(Unavailable), broker_errors():
        raise asyncio.CancelledError


async def test_a_cancellation_that_was_asked_for_stays_one() -> None:
    async def wait_for_the_broker() -> None:
        with broker_errors():
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait_for_the_broker())
    await asyncio.wait([waiting], timeout=0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_a_bug_of_ours_is_not_taken_for_a_lost_link() -> None:
    with pytest.raises(ZeroDivisionError), broker_errors():
        raise ZeroDivisionError


async def test_a_link_that_is_cut_during_the_handshake_is_opened_again(broker: str) -> None:
    async with proxied(broker) as (proxy, url), publishing(url) as publisher:
        cuts = 0

        def cut() -> bool:
            nonlocal cuts
            cuts += min(proxy.cut(), 1)
            return cuts == 15

        await eventually(cut, timeout_s=60, what="15 cuts")
        await eventually(lambda: publisher.ready() is None, timeout_s=30)
