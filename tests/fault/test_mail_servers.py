"""Mail servers that are slow, away or rude: waiting for a connection is no call, and costs no attempt."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest
from wavecom_common.events import routing, types
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import connected
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

from tests.fault.mail_server import MailServer, mail_server
from tests.fault.stage import Stage, process, publish, taken

QUEUES = [routing.sender_queue("email", priority) for priority in ("high", "medium", "low")]
ONCE = Counter([types.DISPATCHED, types.STARTED, types.SENT])


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with mail_server() as server:
        yield server


def sender(stage: Stage, server: MailServer, **more: str):  # type: ignore[no-untyped-def]
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
    return (await told_of(stage, told))[types.SENT] == count


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
