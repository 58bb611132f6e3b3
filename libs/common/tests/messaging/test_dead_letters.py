"""Looking at dead letters and sending them back, on a real broker."""

import asyncio
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

import pytest
from aio_pika.abc import AbstractIncomingMessage
from wavecom_common.events import codec, routing
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Overloaded, Unavailable
from wavecom_common.messaging import dead_letters, topology
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.dead_letters import Dead
from wavecom_common.messaging.headers import REPLAYED_HEADER
from wavecom_common.messaging.incoming import Incoming, Raw
from wavecom_common.messaging.outcome import DeadLetter, Outcome
from wavecom_common.messaging.settlement import Settlement
from wavecom_common.testing.broker import consuming, decoded, depth, messages, publishing, taken
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.tcp_proxy import TcpProxy
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

QUEUE = routing.sender_queue("sms", "high")
DEAD_QUEUE = routing.dead_queue(QUEUE)
# As often as wanted within a test.
AT_ONCE = 1e6


@pytest.fixture
async def broker(broker_url: str) -> str:
    await topology.apply(broker_url, topology.plan([1000]), settle_s=0)
    return broker_url


async def given_up(url: str, count: int) -> list[Event]:
    """So many dead letters of a sender, given up by it."""
    events = [a_dispatch(request=a_request(channel="sms", priority="high")) for _ in range(count)]
    async with publishing(url) as publisher:
        incoming = Incoming(QUEUE, "m", events, asyncio.Event())
        await Settlement(publisher, SYSTEM_CLOCK).settle(incoming, [DeadLetter("unfit")] * count)
    return events


async def limited(url: str, queue: str, **arguments: int) -> None:
    """The topology, with other arguments for one queue."""
    planned = topology.plan([1000])
    other = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    queues = [
        replace(one, arguments={**one.arguments, **other}) if one.name == queue else one for one in planned.queues
    ]
    await topology.apply(url, replace(planned, queues=queues), settle_s=0)


async def ids(url: str, queue: str) -> list[str]:
    """Of the events that wait in a queue, taken out of it."""
    return [event.event_id for event in await taken(url, queue)]


async def leave(_: Dead) -> bool:
    return False


async def remove(_: Dead) -> bool:
    return True


class Tapped(TcpProxy):
    """Keeps what went through it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        super().__init__(parts.hostname, parts.port)
        self._parts = parts
        self.passed = b""

    @property
    def url(self) -> str:
        login = f"{self._parts.username}:{self._parts.password}"
        return urlunsplit(self._parts._replace(netloc=f"{login}@127.0.0.1:{self.port}"))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                self.passed += data
                sink.write(data)
        self._writers.pop(sink, None)
        sink.close()


async def test_thirty_looks_take_nothing_away(broker: str) -> None:
    events = await given_up(broker, 3)
    for _ in range(30):
        assert await dead_letters.walk(broker, QUEUE, leave, limit=10) == 0
    assert sorted(await ids(broker, DEAD_QUEUE)) == sorted(event.event_id for event in events)


@pytest.mark.parametrize("broken_off", [False, True])
async def test_what_was_looked_at_goes_back_by_a_nack_before_the_channel_is_closed(
    broker: str, broken_off: bool
) -> None:
    await given_up(broker, 3)
    seen = 0

    async def look(_: Dead) -> bool:
        nonlocal seen
        seen += 1
        if broken_off and seen == 3:
            raise ZeroDivisionError
        return seen == 2

    async with Tapped(broker) as proxy:
        with suppress(ZeroDivisionError):
            await dead_letters.walk(proxy.url, QUEUE, look, limit=10)
        # basic.nack of every message up to the third, to be requeued; then channel.close or connection.close.
        nack = proxy.passed.index(struct.pack(">HHQB", 60, 120, 3, 0b11))
        closings = [proxy.passed.find(struct.pack(">HHH", *method, 200)) for method in ((20, 40), (10, 50))]
        assert nack < min(place for place in closings if place >= 0)
    assert await depth(broker, DEAD_QUEUE) == 2


async def test_a_dead_letter_refused_again_is_replayed_once(broker: str) -> None:
    [event] = await given_up(broker, 1)

    async def refuse(incoming: Incoming) -> Sequence[Outcome]:
        return [DeadLetter("still unfit")] * len(incoming.events)

    async with (
        publishing(broker) as publisher,
        dead_letters.replaying(broker, per_second=AT_ONCE) as send,
        consuming(broker, refuse, publisher, QUEUE, prefetch=1),
    ):

        async def send_and_see_it_back(dead: Dead) -> bool:
            sent = await send(dead)

            async def back() -> bool:
                return await depth(broker, DEAD_QUEUE) == 1

            await eventually(back, what="the message's next death")
            return sent

        assert await dead_letters.walk(broker, QUEUE, send_and_see_it_back, limit=5) == 1
    assert await ids(broker, DEAD_QUEUE) == [event.event_id]


async def test_a_compressed_body_is_readable_as_a_dead_letter_and_when_it_is_replayed(broker: str) -> None:
    event = a_dispatch(request=a_request(channel="sms", priority="high", message="long " * 8_000))
    async with publishing(broker) as publisher:
        message = publisher.message([event])
        assert message.content_encoding == "gzip"
        raw = Raw(
            queue=QUEUE,
            message_id="one",
            body=message.body,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
        )
        await Settlement(publisher, SYSTEM_CLOCK).dead_letter(raw, "could not be settled")
    seen: list[Event] = []

    async with dead_letters.replaying(broker, per_second=AT_ONCE) as send:

        async def look_and_send(dead: Dead) -> bool:
            seen.extend(dead.events)
            return await send(dead)

        await dead_letters.walk(broker, QUEUE, look_and_send, limit=10)
    assert seen == await taken(broker, QUEUE) == [event]


async def test_a_walk_ends_at_its_limit(broker: str) -> None:
    await given_up(broker, 3)
    assert await dead_letters.walk(broker, QUEUE, remove, limit=2) == 2
    assert await depth(broker, DEAD_QUEUE) == 1


async def test_a_replayed_message_carries_its_mark_and_nothing_of_its_past(broker: str) -> None:
    [event] = await given_up(broker, 1)
    async with dead_letters.replaying(broker, per_second=AT_ONCE) as send:
        await dead_letters.walk(broker, QUEUE, send, limit=10)
    [replayed] = await messages(broker, QUEUE)
    assert of_ours(replayed) == {REPLAYED_HEADER: 1}
    assert [one.event_id for one in decoded(replayed)] == [event.event_id]


def of_ours(message: AbstractIncomingMessage) -> dict[str, object]:
    """Its headers, without the broker's count of this queue's deliveries."""
    return {name: value for name, value in message.headers.items() if name != "x-delivery-count"}


async def test_what_the_broker_gave_up_tells_why_where_and_when_and_can_be_replayed(broker_url: str) -> None:
    await limited(broker_url, QUEUE, delivery_limit=2)
    event = a_dispatch(request=a_request(channel="sms", priority="high"))
    async with publishing(broker_url) as publisher:
        await publisher.publish([event], timeout_s=10)
    for _ in range(3):
        await crash(broker_url)

    async def given_up_by_the_broker() -> bool:
        return (await dead_letters.counts(broker_url))[QUEUE] == 1

    await eventually(given_up_by_the_broker)
    seen: list[Dead] = []
    async with dead_letters.replaying(broker_url, per_second=AT_ONCE) as send:

        async def look_and_send(dead: Dead) -> bool:
            seen.append(dead)
            return await send(dead)

        assert await dead_letters.walk(broker_url, QUEUE, look_and_send, limit=10) == 1
    [dead] = seen
    assert dead.reason == f"the broker gave it up: delivery_limit, 1 x in {QUEUE}"
    assert dead.queue == QUEUE
    assert [one.event_id for one in dead.events] == [event.event_id]
    assert dead.dead_at_ms is not None
    # The broker tells it in whole seconds.
    assert abs(dead.dead_at_ms - SYSTEM_CLOCK.now_ms()) < 60_000
    [replayed] = await messages(broker_url, QUEUE)
    assert of_ours(replayed) == {REPLAYED_HEADER: 1}


async def crash(url: str) -> None:
    """Take what is in the queue and let the link end with it."""
    async with connected(url, "test crash") as connection:
        source = await (await connection.channel()).get_queue(QUEUE, ensure=False)
        await eventually(lambda: source.get(no_ack=False, fail=False), what="the message")


async def test_a_replay_into_a_full_queue_says_so_and_loses_nothing(broker_url: str) -> None:
    await limited(broker_url, QUEUE, max_length=1)
    events = await given_up(broker_url, 30)
    with pytest.raises(Overloaded, match=f"queue {QUEUE} is full"):
        async with dead_letters.replaying(broker_url, per_second=AT_ONCE) as send:
            await dead_letters.walk(broker_url, QUEUE, send, limit=100)
    replayed, left = await ids(broker_url, QUEUE), await ids(broker_url, DEAD_QUEUE)
    assert replayed
    assert left
    assert sorted(replayed + left) == sorted(event.event_id for event in events)


@pytest.mark.parametrize("cut_at", ["before the publish", "before the acknowledgement"])
async def test_a_replay_that_is_cut_off_loses_nothing(broker: str, cut_at: str) -> None:
    events = await given_up(broker, 5)
    seen = 0
    async with (
        Tapped(broker) as walked,
        Tapped(broker) as sent,
        dead_letters.replaying(sent.url, per_second=AT_ONCE) as send,
    ):

        async def cut_the_third(dead: Dead) -> bool:
            nonlocal seen
            seen += 1
            if seen == 3 and cut_at == "before the publish":
                sent.cut()
            told = await send(dead)
            if seen == 3 and cut_at == "before the acknowledgement":
                walked.cut()
            return told

        with pytest.raises(Unavailable):
            await dead_letters.walk(walked.url, QUEUE, cut_the_third, limit=10)
    await eventually(lambda: all_there(broker, len(events)), what="what the cut links held")
    replayed, left = await ids(broker, QUEUE), await ids(broker, DEAD_QUEUE)
    assert set(replayed + left) == {event.event_id for event in events}
    assert len(left) >= 2


async def all_there(url: str, count: int) -> bool:
    replayed, left = await depth(url, QUEUE), await depth(url, DEAD_QUEUE)
    assert replayed is not None
    assert left is not None
    return replayed + left >= count


async def test_a_drop_that_is_cut_off_before_the_broker_heard_it_is_not_told_as_done(broker: str) -> None:
    await given_up(broker, 1)
    async with Tapped(broker) as proxy:

        async def cut(_: Dead) -> bool:
            proxy.cut()
            return True

        with pytest.raises(Unavailable):
            await dead_letters.walk(proxy.url, QUEUE, cut, limit=10)

    async def back() -> bool:
        return await depth(broker, DEAD_QUEUE) == 1

    await eventually(back)


async def test_a_compressed_body_can_be_read_after_it_was_given_up_and_sent_back(broker: str) -> None:
    event = a_dispatch(request=a_request(channel="sms", priority="high", message="again and " * 5000))
    async with publishing(broker) as publisher:
        incoming = Incoming(QUEUE, "m", [event], asyncio.Event())
        await Settlement(publisher, SYSTEM_CLOCK).settle(incoming, [DeadLetter("unfit", fails=False)])
    async with dead_letters.replaying(broker, per_second=AT_ONCE) as replay:
        assert await dead_letters.walk(broker, QUEUE, replay, limit=10) == 1
    [message] = await messages(broker, QUEUE)
    assert message.content_encoding == codec.GZIP
    assert decoded(message) == [event]
