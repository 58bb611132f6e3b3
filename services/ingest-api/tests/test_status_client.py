"""The reader of statuses: the one in memory and the one over gRPC behave alike."""

import pytest
from ingest_api.status_client import StatusClient
from wavecom_common.events import types
from wavecom_common.kernel.errors import Unavailable
from wavecom_proto.v1.events_pb2 import Content

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
    found = await reader.page(status="queued", channel="sms", page=1, limit=10)
    other = await reader.page(status="sent", channel="", page=1, limit=10)

    assert ([notification.id for notification in found.notifications], found.total) == ([ID], 1)
    assert (list(other.notifications), other.total) == ([], 0)


async def test_a_timeline_holds_the_events(reader, published):
    found = await reader.timeline(ID)

    assert [event.event_id for event in found.events] == [published.event_id]


async def test_a_query_service_that_cannot_answer_is_unavailable(reader, pipeline):
    pipeline.failure = Unavailable("x")

    with pytest.raises(Unavailable):
        await reader.get(ID)
    with pytest.raises(Unavailable):
        await reader.page(status="", channel="", page=1, limit=10)


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
