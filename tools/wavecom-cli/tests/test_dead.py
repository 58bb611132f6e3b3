"""`wavecom dead` against a real broker."""

import asyncio

import pytest
from typer.testing import CliRunner
from wavecom_cli.__main__ import app
from wavecom_common.events import routing
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.messaging import dead_letters, topology
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import DeadLetter
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.messaging.settlement import Settlement
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_proto.v1.events_pb2 import Event

QUEUE = routing.sender_queue("sms", "high")


@pytest.fixture
async def dead(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Three dead letters: two for one reason, one for another."""
    monkeypatch.setenv("WAVECOM_RABBITMQ_URL", broker_url)
    await topology.apply(broker_url, topology.plan([1000]), settle_s=0)
    publisher = EventPublisher(broker_url, name="test", required_queues=[])
    await publisher.start()
    events = [a_dispatch(request=a_request(channel="sms", priority="high", message="a secret")) for _ in range(3)]
    settlement = Settlement(publisher, SYSTEM_CLOCK)
    reasons = ["handler failed: ValueError", "handler failed: ValueError", "given out 21 times"]
    incoming = Incoming(QUEUE, "m", events, asyncio.Event())
    await settlement.settle(incoming, [DeadLetter(reason) for reason in reasons])
    await publisher.close()
    return events


def wavecom(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["dead", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


async def depth(url: str, queue: str) -> int | None:
    async with connected(url, "test") as connection:
        return (await topology.message_counts(connection, [queue]))[queue]


async def in_thread(*arguments: str) -> str:

    return await asyncio.to_thread(wavecom, *arguments)


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


async def test_drop_throws_one_notification_away(dead: list[Event], broker_url: str) -> None:
    assert "1 dropped" in await in_thread("drop", QUEUE, "--notification", dead[2].notification_id, "--yes")
    assert (await dead_letters.counts(broker_url))[QUEUE] == 2


def test_a_queue_that_is_none_is_named_with_those_there_are() -> None:
    result = CliRunner().invoke(app, ["dead", "show", "no.such"])
    assert result.exit_code == 2
    assert "no.such" in result.output
