"""The publisher and the consumer on a real broker."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import aio_pika
import pytest
from wavecom_common.events import codec, routing, types
from wavecom_common.kernel.errors import Overloaded, Unavailable, Unroutable
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.headers import REASON_HEADER
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import ACK, DeadLetter, Outcome, Retry
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.testing.broker import RETRY_DELAY_MS, consuming, decoded, depth, depth_is, messages
from wavecom_common.testing.broker import publishing as publishing_with
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

DELAYS_MS = [RETRY_DELAY_MS, 1000]
# What only the dispatcher gets.
REQUESTS = routing.direct_key(routing.DISPATCHER_QUEUE)

publishing = partial(publishing_with, required=[routing.PROJECTOR_QUEUE])


@pytest.fixture
async def broker(broker_url: str) -> str:
    await topology.apply(broker_url, topology.plan(DELAYS_MS), settle_s=0)
    return broker_url


class Recorder:
    """A handler that keeps what it saw and answers as told."""

    def __init__(self, answer: Callable[[Incoming], Sequence[Outcome]] | None = None) -> None:
        self.seen: list[Incoming] = []
        self._answer = answer or (lambda incoming: [ACK] * len(incoming.events))

    async def __call__(self, incoming: Incoming) -> Sequence[Outcome]:
        self.seen.append(incoming)
        return self._answer(incoming)

    @property
    def event_ids(self) -> list[str]:
        return [event.event_id for incoming in self.seen for event in incoming.events]


async def test_applying_the_topology_twice_changes_nothing(broker: str) -> None:
    await topology.apply(broker, topology.plan(DELAYS_MS), settle_s=0)
    assert await depth(broker, routing.PROJECTOR_QUEUE) == 0


async def test_an_event_is_in_every_queue_that_needs_it_when_publish_returns(broker: str) -> None:
    async with publishing(broker) as publisher:
        await publisher.publish([a_request()], timeout_s=10)
    assert await depth(broker, routing.DISPATCHER_QUEUE) == 1
    assert await depth(broker, routing.PROJECTOR_QUEUE) == 1


async def test_many_events_at_once_share_messages(broker: str) -> None:
    events = [a_request() for _ in range(300)]
    async with publishing(broker) as publisher:
        await asyncio.gather(*[publisher.publish([event], timeout_s=10) for event in events])
    assert 3 <= (await depth(broker, routing.DISPATCHER_QUEUE) or 0) <= 30


async def test_large_events_are_spread_over_messages_that_can_be_read(broker: str) -> None:
    recorder = Recorder()
    events = [a_request(message="x" * 66_000) for _ in range(300)]
    async with publishing(broker, max_events=300) as publisher, consuming(broker, recorder, publisher):
        await publisher.publish(events, timeout_s=20)
        await eventually(lambda: len(recorder.event_ids) == 300, timeout_s=20)
    assert sorted(recorder.event_ids) == sorted(event.event_id for event in events)
    assert {len(incoming.events) for incoming in recorder.seen} == {3}


async def test_events_of_different_routing_keys_never_share_a_message(broker: str) -> None:
    recorder = Recorder()
    async with publishing(broker) as publisher, consuming(broker, recorder, publisher, routing.PROJECTOR_QUEUE):
        requests = [a_request(channel=channel) for channel in ("email", "sms", "push") for _ in range(5)]
        events = [types.started(a_dispatch(request=one), provider="p", now_ms=1) for one in requests]
        await publisher.publish(events, timeout_s=10)
        await eventually(lambda: len(recorder.event_ids) == 15)
    assert all(len({event.channel for event in incoming.events}) == 1 for incoming in recorder.seen)
    assert sorted(recorder.event_ids) == sorted(event.event_id for event in events)


async def test_an_event_nobody_is_bound_to_raises(broker: str) -> None:
    stranger = a_request(channel="pigeon")
    lost = types.dispatched(stranger, attempt=1, now_ms=0)
    async with publishing(broker) as publisher:
        await publisher.publish([lost], timeout_s=10)  # the projector takes every notification.#
        with pytest.raises(Unroutable):
            await publisher.publish_message("wavecom.dead", "no such queue", publisher.message([lost]))


@pytest.mark.parametrize(
    ("queue", "key"),
    [(routing.PROJECTOR_QUEUE, "notification.#"), (routing.DISPATCHER_QUEUE, REQUESTS)],
)
async def test_a_request_that_does_not_reach_one_of_its_queues_is_not_confirmed(
    broker: str, queue: str, key: str
) -> None:
    async with publishing(broker) as publisher, connected(broker, "test") as connection:
        channel = await connection.channel()
        found = await channel.get_queue(queue, ensure=False)
        await found.unbind(routing.EVENTS_EXCHANGE, key)

        with pytest.raises(Unroutable):
            await publisher.publish([a_request()], timeout_s=10)
        assert "no queue is bound to" in (publisher.ready() or "")
        # Nothing is to be delivered that the event store has not heard of.
        assert await depth(broker, routing.DISPATCHER_QUEUE) == 0
        # And that hears of no more than one.
        heard = await depth(broker, routing.PROJECTOR_QUEUE)
        with pytest.raises(Unroutable):
            await publisher.publish([a_request()], timeout_s=10)
        assert await depth(broker, routing.PROJECTOR_QUEUE) == heard

        await found.bind(routing.EVENTS_EXCHANGE, key)
        await eventually(lambda: publisher.ready() is None, timeout_s=20)
        await publisher.publish([a_request()], timeout_s=10)
        assert await depth(broker, routing.DISPATCHER_QUEUE) == 1


async def test_a_queue_that_is_full_is_overloaded_until_there_is_room(broker: str) -> None:
    full = {"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"}
    async with connected(broker, "test full") as connection, publishing(broker) as publisher:
        channel = await connection.channel()
        queue = await channel.declare_queue("test.full", durable=True, arguments=full)
        await queue.bind(routing.EVENTS_EXCHANGE, "notification.requested")

        async def refused() -> bool:
            try:
                await publisher.publish([a_request()], timeout_s=10)
            except Overloaded:
                return True
            return False

        await eventually(refused)
        await queue.purge()

        async def taken_again() -> bool:
            return not await refused()

        await eventually(taken_again)


async def test_nothing_is_published_while_a_required_queue_is_missing(broker: str) -> None:
    async with publishing(broker, required=["no.such.queue"]) as publisher:
        await eventually(lambda: "no.such.queue" in (publisher.ready() or ""))
        with pytest.raises(Unroutable):
            await publisher.publish([a_request()], timeout_s=10)
    assert await depth(broker, routing.PROJECTOR_QUEUE) == 0


async def test_without_a_broker_publish_ends_at_its_deadline() -> None:
    async with publishing("amqp://guest:guest@127.0.0.1:1/") as publisher:
        with pytest.raises(Unavailable):
            await publisher.publish([a_request()], timeout_s=0.3)
        assert publisher.ready() is not None


async def test_a_publisher_that_is_closed_while_it_connects_is_closed_soon(broker: str) -> None:
    # The client library loses some cancellations that come just then.
    for pause_ms in range(60):
        publisher = EventPublisher(broker, name="test", required_queues=[])
        await publisher.start()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_ms / 1000):
                await asyncio.Event().wait()
        async with asyncio.timeout(5):
            await publisher.close()


async def test_a_large_batch_travels_compressed_and_arrives_whole(broker: str) -> None:
    recorder = Recorder()
    events = [a_request(message="the same words again " * 50) for _ in range(50)]
    async with publishing(broker) as publisher, consuming(broker, recorder, publisher):
        await publisher.publish(events, timeout_s=10)
        await eventually(lambda: len(recorder.event_ids) == 50)
    whole = [event.content.message for incoming in recorder.seen for event in incoming.events]
    assert set(whole) == {"the same words again " * 50}
    stored, *_ = await messages(broker, routing.PROJECTOR_QUEUE)
    assert stored.content_encoding == codec.GZIP or len(stored.body) < 16_384


async def test_a_handled_message_leaves_the_queue(broker: str) -> None:
    recorder = Recorder()
    async with publishing(broker) as publisher:
        async with consuming(broker, recorder, publisher):
            await publisher.publish([a_request()], timeout_s=10)
            await eventually(lambda: len(recorder.seen) == 1)
        assert await depth(broker, routing.DISPATCHER_QUEUE) == 0


async def test_an_event_to_be_retried_comes_back_alone_and_only_to_its_queue(broker: str) -> None:
    events = [a_request() for _ in range(3)]

    def answer(incoming: Incoming) -> Sequence[Outcome]:
        again = incoming.past.failures == 0 and len(incoming.events) > 1
        return [Retry(DELAYS_MS[0], "not yet", failed=1) if again and event == incoming.events[1] else ACK
                for event in incoming.events]  # fmt: skip

    recorder = Recorder(answer)
    async with publishing(broker) as publisher:
        await publisher.publish_message(routing.EVENTS_EXCHANGE, REQUESTS, publisher.message(events))
        async with consuming(broker, recorder, publisher):
            await eventually(lambda: len(recorder.seen) == 2)
    assert [event.event_id for event in recorder.seen[1].events] == [events[1].event_id]
    assert recorder.seen[1].past.failures == 1
    assert await depth(broker, routing.PROJECTOR_QUEUE) == 0


async def test_a_body_that_is_no_batch_ends_in_the_dead_letter_queue_with_the_reason(broker: str) -> None:
    recorder = Recorder()
    async with publishing(broker) as publisher, consuming(broker, recorder, publisher):
        broken = aio_pika.Message(b"\xff\xffnot protobuf", content_type=codec.CONTENT_TYPE, message_id="broken")
        await publisher.publish_message(routing.EVENTS_EXCHANGE, REQUESTS, broken)
        await eventually(lambda: dead_is(broker, routing.DISPATCHER_QUEUE, 1))
    [dead] = await messages(broker, routing.dead_queue(routing.DISPATCHER_QUEUE))
    assert dead.body == b"\xff\xffnot protobuf"
    assert "undecodable" in str(dead.headers[REASON_HEADER])
    assert recorder.seen == []


async def dead_is(url: str, queue: str, count: int) -> bool:
    return await depth(url, routing.dead_queue(queue)) == count


async def test_a_dead_lettered_request_becomes_failed_unless_others_deliver_it(broker: str) -> None:
    delivered, request = a_request(), a_request()

    def answer(incoming: Incoming) -> Sequence[Outcome]:
        return [DeadLetter("unfit", fails=event == request) for event in incoming.events]

    async with publishing(broker) as publisher, consuming(broker, Recorder(answer), publisher):
        await publisher.publish([delivered, request], timeout_s=10)
        await eventually(lambda: dead_is(broker, routing.DISPATCHER_QUEUE, 2))
        await eventually(lambda: depth_is(broker, routing.PROJECTOR_QUEUE, 2))
    _, told = await messages(broker, routing.PROJECTOR_QUEUE)
    [end] = decoded(told)
    assert end.type == types.FAILED
    assert (end.notification_id, end.failed.reason) == (request.notification_id, types.DEAD_LETTER)


async def test_an_event_that_breaks_its_handler_is_dead_lettered_and_its_neighbours_are_not(broker: str) -> None:
    events = [a_request(message=text) for text in ("good", "poison", "good too")]
    handled: set[str] = set()

    async def handler(incoming: Incoming) -> Sequence[Outcome]:
        if any(event.content.message == "poison" for event in incoming.events):
            raise ZeroDivisionError
        handled.update(event.event_id for event in incoming.events)
        return [ACK] * len(incoming.events)

    async with publishing(broker) as publisher:
        await publisher.publish_message(routing.EVENTS_EXCHANGE, REQUESTS, publisher.message(events))
        async with consuming(broker, handler, publisher):
            await eventually(lambda: dead_is(broker, routing.DISPATCHER_QUEUE, 1))
    assert handled == {events[0].event_id, events[2].event_id}
    [dead] = await messages(broker, routing.dead_queue(routing.DISPATCHER_QUEUE))
    assert "ZeroDivisionError" in str(dead.headers[REASON_HEADER])


async def test_an_event_that_cannot_even_be_given_up_is_dead_lettered(broker: str) -> None:
    def break_(_: Incoming) -> Sequence[Outcome]:
        raise ZeroDivisionError

    async def break_again(_: Event, __: str) -> Outcome:
        raise ZeroDivisionError

    async with (
        publishing(broker) as publisher,
        consuming(broker, Recorder(break_), publisher, give_up=break_again),
    ):
        await publisher.publish([a_request()], timeout_s=10)
        await eventually(lambda: dead_is(broker, routing.DISPATCHER_QUEUE, 1))


async def test_a_message_that_cannot_be_settled_is_dead_lettered_as_it_came(broker: str) -> None:
    # Fewer outcomes than events: a bug.
    async with publishing(broker) as publisher, consuming(broker, Recorder(lambda _: []), publisher):
        await publisher.publish([a_request()], timeout_s=10)
        await eventually(lambda: dead_is(broker, routing.DISPATCHER_QUEUE, 1))
    [dead] = await messages(broker, routing.dead_queue(routing.DISPATCHER_QUEUE))
    assert dead.headers[REASON_HEADER] == "could not be settled: ValueError"


async def test_while_something_is_unavailable_the_message_waits_unacknowledged(broker: str) -> None:
    calls = 0

    async def handler(incoming: Incoming) -> Sequence[Outcome]:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise Unavailable("database: away")
        return [ACK] * len(incoming.events)

    async with publishing(broker) as publisher:
        async with consuming(broker, handler, publisher):
            await publisher.publish([a_request()], timeout_s=10)
            await eventually(lambda: calls == 3)
        assert await depth(broker, routing.DISPATCHER_QUEUE) == 0
        assert await depth(broker, routing.dead_queue(routing.DISPATCHER_QUEUE)) == 0


async def test_a_delayed_event_comes_after_its_delay_under_its_own_routing_key(broker: str) -> None:
    recorder = Recorder()
    queue = routing.sender_queue("email", "medium")
    loop = asyncio.get_running_loop()
    async with publishing(broker) as publisher, consuming(broker, recorder, publisher, queue):
        begun_s = loop.time()
        event = types.dispatched(a_request(), attempt=2, now_ms=0)
        await publisher.publish_later([event], delay_ms=1000, timeout_s=10)
        await eventually(lambda: len(recorder.seen) == 1)
    assert loop.time() - begun_s >= 1.0
    assert recorder.event_ids == [event.event_id]
