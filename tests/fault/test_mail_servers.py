"""Mail servers that are slow, away or rude: waiting for a connection is no call, and costs no attempt."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import httpx
import pytest
from wavecom_common.events import routing, types
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.handling import LIMITS
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

from tests.fault.mail_server import MailServer, mail_server
from tests.fault.stage import Stage, process, publish, taken
from tests.proxied import proxied

QUEUES = [routing.sender_queue("email", priority) for priority in ("high", "medium", "low")]
ONCE = Counter([types.DISPATCHED, types.STARTED, types.SENT])


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with mail_server() as server:
        yield server


def sender(stage: Stage, server: MailServer, **more: str) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """email-sender, with that mail server."""
    settings = {
        "WAVECOM_EMAIL_PROVIDER": "smtp",
        "WAVECOM_SMTP_PORT": str(server.port),
        "WAVECOM_PROVIDER_TIMEOUT_S": "2",
    }
    return process(stage, "-m", "email_sender", **settings | more)


async def order(stage: Stage, count: int) -> list[Event]:
    """Attempts for the sender, in messages of up to a hundred."""
    events = [a_dispatch(request=a_request()) for _ in range(count)]
    await publish(stage, *events)
    return events


def message_id(event: Event) -> str:
    return f"<{event.notification_id}@localhost>"


async def told_of(stage: Stage, told: dict[str, Event]) -> Counter[str]:
    """How often which type of event has been told by now, each fact once."""
    for event in await taken(stage):
        told.setdefault(event.event_id, event)
    return Counter(event.type for event in told.values())


async def all_sent(stage: Stage, told: dict[str, Event], count: int) -> bool:
    # Starts and sends are published apart: a start may be the later of the two.
    found = await told_of(stage, told)
    return all(found[kind] >= count for kind in ONCE)


async def held(stage: Stage, queues: Sequence[str] = QUEUES) -> int:
    async with connected(stage.broker_url, "test") as connection:
        return sum(count or 0 for count in (await topology.message_counts(connection, queues)).values())


def once_each(events: Sequence[Event], told: dict[str, Event], server: MailServer) -> None:
    """Every mail arrived once, by its first attempt, and nothing else is told."""
    assert server.mails == Counter(message_id(event) for event in events)
    count = len(events)
    assert Counter(event.type for event in told.values()) == Counter({kind: count for kind in ONCE})
    assert {event.attempt for event in told.values()} == {1}


@pytest.mark.timeout(90)
async def test_a_slow_server_gets_every_mail_once_however_long_they_wait_for_a_connection(
    stage: Stage, server: MailServer
) -> None:
    # Eight at a time: the last waits for more than seven seconds, and a call may take two.
    server.seconds = 0.3
    events, told = await order(stage, 200), dict[str, Event]()
    async with sender(stage, server):
        await eventually(lambda: all_sent(stage, told, len(events)), timeout_s=60, what="every send")
    once_each(events, told, server)
    assert server.connections <= 16


async def test_a_server_that_is_away_costs_no_attempt_however_often_it_is_tried(
    stage: Stage, server: MailServer
) -> None:
    await server.refuse()
    events, told = await order(stage, 120), dict[str, Event]()
    async with sender(stage, server):
        await eventually(lambda: logged(stage, "provider_unavailable"))
        await eventually(lambda: failures(stage) >= 5, what="five tries")
        assert await told_of(stage, told) == Counter({types.DISPATCHED: len(events)})
        await server.open()
        await eventually(lambda: all_sent(stage, told, len(events)), timeout_s=30, what="every send")
    once_each(events, told, server)
    [line] = logged(stage, "provider_unavailable")
    assert line["cause"] == "refused"


@pytest.mark.parametrize("answer", ["", "421 4.7.0 too many mails"])
async def test_a_server_that_ends_connections_between_mails_gets_every_mail_once(
    stage: Stage, server: MailServer, answer: str
) -> None:
    server.ends_after, server.ends_with = 3, answer
    events, told = await order(stage, 100), dict[str, Event]()
    async with sender(stage, server):
        await eventually(lambda: all_sent(stage, told, len(events)), timeout_s=30, what="every send")
    once_each(events, told, server)


@pytest.mark.timeout(90)
async def test_of_those_that_wait_when_a_sender_is_killed_none_is_told_as_unknown(
    stage: Stage, server: MailServer
) -> None:
    server.seconds = 1.0
    events, told = await order(stage, 100), dict[str, Event]()
    async with sender(stage, server) as first:
        await eventually(lambda: server.connections == 8 and len(server.mails) >= 8)
        first.send_signal(signal.SIGKILL)
        await first.wait()
    server.seconds = 0.0
    async with sender(stage, server):
        await eventually(lambda: all_sent(stage, told, len(events)), timeout_s=30, what="every send")
    kinds = await told_of(stage, told)
    unknown = {event.notification_id for event in told.values() if event.type == types.OUTCOME_UNKNOWN}
    # Eight calls were under way, and eight outcomes at most were on their way to the ledger.
    assert 1 <= len(unknown) <= 16
    assert server.mails.keys() == {message_id(event) for event in events}
    repeated = {one for one, count in server.mails.items() if count > 1}
    assert repeated <= {f"<{one}@localhost>" for one in unknown}
    assert kinds[types.SENT] == len(events)


async def test_a_stop_while_all_wait_for_a_server_that_is_away_leaves_them_to_the_broker(
    stage: Stage, server: MailServer
) -> None:
    await server.refuse()
    await order(stage, 120)
    before = await held(stage)
    async with sender(stage, server) as process:
        await eventually(lambda: logged(stage, "provider_unavailable"))
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
    assert await held(stage) == before
    assert set(await told_of(stage, {})) == {types.DISPATCHED}


@pytest.mark.timeout(120)
async def test_what_comes_back_again_and_again_during_an_outage_is_not_given_up(
    stage: Stage, server: MailServer
) -> None:
    """A broker gives out again what waits for half an hour; here its link is cut, often enough for a quarantine."""
    await server.refuse()
    events, told = await order(stage, 5), dict[str, Event]()
    cuts, sessions = LIMITS.redeliveries + LIMITS.trials + 3, 0
    async with proxied(stage.broker_url) as (proxy, url):
        stage = replace(stage, environment=stage.environment | {"WAVECOM_RABBITMQ_URL": url})
        for _ in range(2):
            # Two lives: what the first left to the broker the second does not know of.
            async with sender(stage, server):
                for _ in range(cuts // 2):
                    sessions += 1
                    await eventually(lambda n=sessions: len(logged(stage, "consuming")) == n)  # type: ignore[misc]
                    proxy.cut()
        async with sender(stage, server):
            await server.open()
            await eventually(lambda: all_sent(stage, told, len(events)), timeout_s=60, what="every send")
    once_each(events, told, server)


def logged(stage: Stage, event: str) -> list[dict[str, object]]:
    """The log lines of that event."""
    lines = [json.loads(line) for line in stage.log.splitlines()]
    return [line for line in lines if line["event"] == event]


def failures(stage: Stage) -> int:
    """How often the latest sender found no connection, as its metrics say."""
    metrics = httpx.get(f"http://127.0.0.1:{logged(stage, 'listening')[-1]['port']}/metrics").text
    name = 'wavecom_provider_connection_failures_total{cause="refused",provider="smtp"} '
    return sum(int(float(line.removeprefix(name))) for line in metrics.splitlines() if line.startswith(name))
