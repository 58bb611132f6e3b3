"""`wavecom dead` against a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aio_pika import Message
from status_projector.model import projection
from status_projector.model.read_model import ReadModel
from status_projector.store.event_store import EventStore
from typer.testing import CliRunner
from wavecom_cli.__main__ import app
from wavecom_cli.link import database as database_link
from wavecom_common.delivery.port import Attempt
from wavecom_common.events import codec, routing, types
from wavecom_common.events.outcomes import Delivered, DeliveryOutcome
from wavecom_common.hosting.sender import SenderSettings, sender_components
from wavecom_common.hosting.settings import Settings
from wavecom_common.kernel.clock import SYSTEM_CLOCK, SystemClock
from wavecom_common.messaging import dead_letters, topology
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import DeadLetter
from wavecom_common.messaging.settlement import Settlement
from wavecom_common.storage import names
from wavecom_common.storage.client import Database
from wavecom_common.testing.broker import depth, depth_is, publishing, taken
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

QUEUE = routing.sender_queue("sms", "high")


@pytest.fixture
def broker(broker_url: str, mongodb_url: str, database_name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the command looks."""
    monkeypatch.setenv("WAVECOM_RABBITMQ_URL", broker_url)
    monkeypatch.setenv("WAVECOM_MONGODB_URL", mongodb_url)
    monkeypatch.setenv("WAVECOM_MONGODB_DATABASE", database_name)
    return broker_url


@pytest.fixture
async def store(broker: str, mongodb_url: str, database_name: str) -> AsyncIterator[EventStore]:
    """What happened, as far as it is stored."""
    database = Database(mongodb_url, database_name)
    yield EventStore(database)
    await database.close()


@pytest.fixture
async def dead(broker: str) -> list[Event]:
    """Three dead letters: two for one reason, one for another."""
    await topology.apply(broker, topology.plan([1000]), settle_s=0)
    events = [attempt() for _ in range(3)]
    reasons = ["handler failed: ValueError", "handler failed: ValueError", "given out 21 times"]
    async with publishing(broker) as publisher:
        settlement = Settlement(publisher, SYSTEM_CLOCK)
        incoming = Incoming(QUEUE, "m", events, asyncio.Event())
        await settlement.settle(incoming, [DeadLetter(reason) for reason in reasons])
    return events


def attempt(*, days_ago: int = 0, message: str = "a secret") -> Event:
    now_ms = SYSTEM_CLOCK.now_ms() - days_ago * 24 * 3600 * 1000
    return a_dispatch(request=a_request(channel="sms", priority="high", message=message, now_ms=now_ms), now_ms=now_ms)


async def dead_letter(url: str, *events: Event) -> None:
    """As the broker gives up a message: with all events that are in it."""
    async with connected(url, "test") as connection:
        exchange = await (await connection.channel()).get_exchange(routing.DEAD_EXCHANGE, ensure=False)
        [batch] = codec.encode(events, compress_above_bytes=16_384)
        await exchange.publish(Message(batch.body, content_type=codec.CONTENT_TYPE), QUEUE)


async def wavecom(*arguments: str) -> str:
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


async def in_thread(*arguments: str) -> str:
    return await wavecom("dead", *arguments)


async def test_list_counts_them_by_queue(dead: list[Event]) -> None:
    output = await in_thread("list")
    [line] = [line for line in output.splitlines() if QUEUE in line]
    assert "3" in line


async def test_show_tells_why_and_whose_and_no_content(dead: list[Event]) -> None:
    output = await in_thread("show", QUEUE)
    assert all(event.event_id in output for event in dead)
    assert "2 x handler failed: ValueError" in output
    assert "secret" not in output
    assert "ada@example.com" not in output


async def test_a_dry_run_moves_nothing(dead: list[Event], broker_url: str) -> None:
    assert "3 would be replayed" in await in_thread("replay", QUEUE, "--dry-run")
    assert "3 would be dropped" in await in_thread("drop", QUEUE, "--dry-run")
    assert await depth(broker_url, routing.dead_queue(QUEUE)) == 3


async def test_replay_sends_only_what_matches_back_to_its_own_queue(dead: list[Event], broker_url: str) -> None:
    told = await depth(broker_url, routing.PROJECTOR_QUEUE)
    assert "2 replayed" in await in_thread("replay", QUEUE, "--reason", "ValueError", "--rate", "1000")
    assert await depth(broker_url, QUEUE) == 2
    assert await depth(broker_url, routing.dead_queue(QUEUE)) == 1
    assert await depth(broker_url, routing.PROJECTOR_QUEUE) == told


async def test_replay_sends_nothing_again_that_was_sent_meanwhile(
    dead: list[Event], broker_url: str, store: EventStore
) -> None:
    sent = types.sent(dead[0], provider="p", provider_message_id="x", now_ms=SYSTEM_CLOCK.now_ms())
    await store.append([dead[0], sent])
    for dry in (["--dry-run"], []):
        output = await in_thread("replay", QUEUE, "--rate", "1000", *dry)
        assert f"{dead[0].event_id}  not sent: already sent at 20" in output
        assert "1 over, and left" in output
    assert {event.event_id for event in await taken(broker_url, QUEUE)} == {event.event_id for event in dead[1:]}
    assert await depth(broker_url, routing.dead_queue(QUEUE)) == 1
    assert "0 replayed" in (dropped := await in_thread("replay", QUEUE, "--drop-over"))
    assert "1 over, and dropped" in dropped
    assert await depth(broker_url, routing.dead_queue(QUEUE)) == 0


async def test_replay_reports_as_unknown_what_the_ledger_may_have_forgotten(broker_url: str, store: EventStore) -> None:
    await topology.apply(broker_url, topology.plan([1000]), settle_s=0)
    old = attempt(days_ago=20)
    await dead_letter(broker_url, old)
    output = await in_thread("replay", QUEUE)
    assert "1 replayed" in output
    assert "1 reported as unknown first" in output
    assert [event.event_id for event in await taken(broker_url, QUEUE)] == [old.event_id]
    assert [event.type for event in await taken(broker_url, routing.PROJECTOR_QUEUE)] == [types.OUTCOME_UNKNOWN]


class CountedProvider:
    """Delivers everything, and remembers what."""

    name = "counted"

    def __init__(self) -> None:
        self.called_for: list[str] = []

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        self.called_for.append(attempt.notification_id)
        return Delivered("x")

    async def close(self) -> None:
        pass


@asynccontextmanager
async def a_sender(provider: CountedProvider) -> AsyncIterator[None]:
    """All that an SMS sender's process is, with this provider."""
    components = sender_components("sms", SenderSettings.load(), provider)
    for component in components:
        await component.start()
    try:
        yield
    finally:
        for component in reversed(components):
            await component.drain()
            await component.close()


async def test_what_was_sent_and_removed_by_retention_calls_no_provider_again(broker: str) -> None:
    await topology.apply(broker, topology.plan(Settings.load().broker_delays_ms), settle_s=0)
    provider = CountedProvider()
    old, young = attempt(days_ago=100), attempt()
    async with a_sender(provider), publishing(broker) as publisher, database_link(Settings.load()) as database:
        await publisher.publish([old], timeout_s=10)
        await eventually(lambda: depth_is(broker, routing.PROJECTOR_QUEUE, 3))
        # Stored as if a hundred days had passed since: the ledger has forgotten it.
        events = await taken(broker, routing.PROJECTOR_QUEUE)
        for event in events:
            event.occurred_at_ms = old.occurred_at_ms
        await EventStore(database).append(events)
        await ReadModel(database).merge(projection.fold(events))
        await database.collection(names.DELIVERIES).delete_many({})
        assert "removed: 3 events, 1 sent" in await wavecom("retention")

        await dead_letter(broker, old)
        await dead_letter(broker, young)
        output = await in_thread("replay", QUEUE)
        await eventually(lambda: young.notification_id in provider.called_for)

    assert provider.called_for == [old.notification_id, young.notification_id]
    assert f"{old.event_id}  not sent: already removed by retention\n" in output
    assert "1 replayed" in output
    assert "1 over, and left" in output


async def test_of_a_message_with_several_only_those_without_an_end_are_sent(broker_url: str, store: EventStore) -> None:
    await topology.apply(broker_url, topology.plan([1000]), settle_s=0)
    events = [attempt() for _ in range(3)]
    await store.append([types.failed(events[1], error="e", reason=types.PERMANENT, now_ms=SYSTEM_CLOCK.now_ms())])
    await dead_letter(broker_url, *events)
    output = await in_thread("replay", QUEUE)
    assert "2 replayed" in output
    assert "1 over, and left" in output
    assert [event.event_id for event in await taken(broker_url, QUEUE)] == [events[0].event_id, events[2].event_id]
    assert events[1].event_id in (left := await in_thread("show", QUEUE))
    assert events[0].event_id not in left


async def test_replay_keeps_to_its_rate(dead: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    pauses_s: list[float] = []

    class Clock(SystemClock):
        async def sleep(self, seconds: float) -> None:
            pauses_s.append(seconds)

    monkeypatch.setattr(dead_letters, "SYSTEM_CLOCK", Clock())
    assert "3 replayed" in await in_thread("replay", QUEUE, "--rate", "4")
    assert pauses_s == [0, 0.25, 0.25]


async def test_drop_of_a_notification_leaves_what_holds_those_of_others(dead: list[Event], broker_url: str) -> None:
    await dead_letter(broker_url, *dead[:2])
    chosen = ["drop", QUEUE, "--notification", dead[0].notification_id]
    assert "1 would be dropped" in await in_thread(*chosen, "--dry-run")
    assert "1 dropped" in await in_thread(*chosen, "--yes")
    left = await in_thread("show", QUEUE)
    assert f"{dead[0].event_id}, {dead[1].event_id}" in left
    assert (await dead_letters.counts(broker_url))[QUEUE] == 3


async def test_what_the_broker_gave_up_is_listed_and_shown_with_its_reason(broker: str) -> None:
    planned = topology.plan([1000])
    queues = [
        replace(one, arguments={**one.arguments, "x-delivery-limit": 1}) if one.name == QUEUE else one
        for one in planned.queues
    ]
    await topology.apply(broker, replace(planned, queues=queues), settle_s=0)
    event = a_dispatch(request=a_request(channel="sms", priority="high"))
    async with publishing(broker) as publisher:
        await publisher.publish([event], timeout_s=10)
    async with connected(broker, "test") as connection:
        source = await (await connection.channel()).get_queue(QUEUE, ensure=False)
        for _ in range(2):
            await (await eventually(lambda: source.get(fail=False))).nack()

    async def listed() -> bool:
        [line] = [line for line in (await in_thread("list")).splitlines() if QUEUE in line]
        return "1" in line

    await eventually(listed)
    [line, total] = (await in_thread("show", QUEUE)).splitlines()
    told = f"the broker gave it up: delivery_limit, 1 x in {QUEUE}"
    assert line.endswith(f"  {event.event_id}  {told}")
    assert line.startswith("20")
    assert total == f"1 x {told}"
    assert "1 would be replayed" in await in_thread("replay", QUEUE, "--reason", "delivery_limit", "--dry-run")


async def test_drop_throws_one_notification_away(dead: list[Event], broker_url: str) -> None:
    assert "1 dropped" in await in_thread("drop", QUEUE, "--notification", dead[2].notification_id, "--yes")
    assert (await dead_letters.counts(broker_url))[QUEUE] == 2


def test_a_queue_that_is_none_is_named_with_those_there_are() -> None:
    result = CliRunner().invoke(app, ["dead", "show", "no.such"])
    assert result.exit_code == 2
    assert "no.such" in result.output
