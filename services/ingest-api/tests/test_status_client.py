"""The reader of statuses: the one in memory and the one over gRPC behave alike."""

from collections import Counter

import grpc
import pytest
from ingest_api.status_client import StatusClient
from wavecom_common.events import types
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Content
from wavecom_proto.v1.status_pb2 import Notification, Place
from wavecom_proto.v1.status_pb2_grpc import StatusQueryServicer, add_StatusQueryServicer_to_server

ID = "675a1b2c3d4e5f6071829304"


@pytest.fixture
async def published(pipeline, clock):
    content = Content(recipient="+2348012345678", message="Hello", max_attempts=3)
    event = types.requested(
        notification_id=ID, tenant="default", channel="sms", priority="low", content=content, now_ms=clock.now_ms()
    )
    await pipeline.publish([event], timeout_s=1)
    return event


async def test_a_notification_is_found_by_its_id(reader, published):
    found = await reader.get(ID)

    assert (found.id, found.status, found.priority, found.recipient) == (ID, "queued", "low", "+2348012345678")
    assert not found.HasField("sent_at_ms")


async def test_a_notification_that_is_not_there_is_none(reader):
    assert await reader.get(ID) is None
    assert await reader.timeline(ID) is None


async def test_a_page_holds_what_was_asked_for(reader, published):
    found = await reader.page(status="queued", channel="sms", page=1, limit=10, after=None)
    other = await reader.page(status="sent", channel="", page=1, limit=10, after=None)

    assert ([notification.id for notification in found.notifications], found.total) == ([ID], 1)
    assert (list(other.notifications), other.total) == ([], 0)


async def test_a_page_behind_a_place_holds_what_follows_it(reader, published):
    at_ms = published.occurred_at_ms
    places = [Place(created_at_ms=at_ms, id=ID), Place(created_at_ms=at_ms + 1, id="0" * 24)]
    found = [await reader.page(status="", channel="", page=1, limit=10, after=place) for place in places]

    assert [[notification.id for notification in page.notifications] for page in found] == [[], [ID]]


async def test_a_timeline_holds_the_events(reader, published):
    found = await reader.timeline(ID)

    assert [event.event_id for event in found.events] == [published.event_id]


async def test_a_query_service_that_cannot_answer_is_unavailable(reader, pipeline):
    pipeline.failure = Unavailable("x")

    with pytest.raises(Unavailable):
        await reader.get(ID)
    with pytest.raises(Unavailable):
        await reader.page(status="", channel="", page=1, limit=10, after=None)


async def test_a_query_service_that_is_not_there_is_unavailable(unused_tcp_port):
    client = StatusClient(f"dns:///127.0.0.1:{unused_tcp_port}", tenant="default")

    with pytest.raises(Unavailable, match="UNAVAILABLE"):
        await client.get(ID)

    await client.close()


async def test_the_api_stays_ready_without_the_query_service(unused_tcp_port):
    client = StatusClient(f"dns:///127.0.0.1:{unused_tcp_port}", tenant="default")
    await client.start()

    assert client.ready() is None

    await client.drain()
    await client.close()


class _Counting(StatusQueryServicer):
    """Finds everything, and counts under its name."""

    def __init__(self, name, asked):
        self._name, self._asked = name, asked

    async def GetNotification(self, request, context):
        self._asked[self._name] += 1
        return Notification(id=request.id)


async def test_questions_are_spread_over_all_servers_and_a_lost_one_fails_none():
    asked = Counter()
    servers = {name: grpc.aio.server() for name in ("one", "two", "three")}
    ports = []
    for name, server in servers.items():
        add_StatusQueryServicer_to_server(_Counting(name, asked), server)
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
    # What the name of a headless service resolves to: every address.
    client = StatusClient("ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports), tenant="default")

    async def all_were_asked():
        await client.get(ID)
        return len(asked) == len(servers)

    await eventually(all_were_asked, timeout_s=10, what="every server is asked")
    asked.clear()
    for _ in range(30):
        await client.get(ID)
    assert asked == dict.fromkeys(servers, 10)

    await servers["two"].stop(grace=None)
    asked.clear()
    for _ in range(20):
        assert (await client.get(ID)).id == ID
    assert set(asked) == {"one", "three"}

    await client.close()
    for server in servers.values():
        await server.stop(grace=None)
