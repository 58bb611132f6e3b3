"""Both processes as they are wired, on a real broker and a real database."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import aio_pika
import grpc
import pytest
from prometheus_client import REGISTRY
from status_projector.bootstrap import build_projector, build_query
from status_projector.query.server import QueryServer
from status_projector.settings import ProjectorSettings, QuerySettings
from wavecom_common.events import routing, types
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.component import Component
from wavecom_common.messaging import dead_letters, topology
from wavecom_common.messaging.headers import REASON_HEADER
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.status_pb2 import GetNotificationRequest, GetTimelineRequest
from wavecom_proto.v1.status_pb2_grpc import StatusQueryStub

pytestmark = pytest.mark.connected


@pytest.fixture
def environment(
    monkeypatch: pytest.MonkeyPatch, broker_url: str, mongodb_url: str, database_name: str
) -> pytest.MonkeyPatch:
    monkeypatch.setenv("WAVECOM_RABBITMQ_URL", broker_url)
    monkeypatch.setenv("WAVECOM_MONGODB_URL", mongodb_url)
    monkeypatch.setenv("WAVECOM_MONGODB_DATABASE", database_name)
    monkeypatch.setenv("WAVECOM_GRPC_PORT", "0")
    return monkeypatch


@pytest.fixture
async def publisher(environment: pytest.MonkeyPatch, broker_url: str) -> AsyncIterator[EventPublisher]:
    await topology.apply(broker_url, topology.plan(ProjectorSettings.load().broker_delays_ms), settle_s=0)
    publisher = EventPublisher(broker_url, name="test", required_queues=[])
    async with _running([publisher, *build_projector(ProjectorSettings.load())]):
        yield publisher


async def test_dead_letters_are_counted_by_the_queue_they_came_from(
    environment: pytest.MonkeyPatch, broker_url: str
) -> None:
    environment.setattr(dead_letters, "_WATCH_INTERVAL_S", 0.1)
    await topology.apply(broker_url, topology.plan(ProjectorSettings.load().broker_delays_ms), settle_s=0)
    queue = routing.sender_queue("push", "low")

    def counted() -> float | None:
        return REGISTRY.get_sample_value("wavecom_dead_letters", {"queue": queue})

    publisher = EventPublisher(broker_url, name="test", required_queues=[])
    async with _running([publisher, *build_projector(ProjectorSettings.load())]):
        await eventually(lambda: counted() == 0)
        for _ in range(2):
            await publisher.publish_message(routing.DEAD_EXCHANGE, queue, publisher.message([a_request()]))
        await eventually(lambda: counted() == 2)


async def test_published_events_are_answered_from(publisher: EventPublisher) -> None:
    components = build_query(QuerySettings.load())
    [server] = [component for component in components if isinstance(component, QueryServer)]
    async with _running(components), grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = StatusQueryStub(channel)
        now_ms = SYSTEM_CLOCK.now_ms()  # young, so the server waits for it
        request = a_request(now_ms=now_ms)
        attempt = a_dispatch(request=request)
        sent = types.sent(attempt, provider="simulated", provider_message_id="", now_ms=now_ms + 5)
        nid = request.notification_id

        await publisher.publish([sent, request], timeout_s=5)

        async def is_sent() -> bool:
            found = await stub.GetNotification(GetNotificationRequest(id=nid, tenant="default"))
            return (found.status, found.sent_at_ms) == ("sent", now_ms + 5)

        await eventually(is_sent)
        timeline = await stub.GetTimeline(GetTimelineRequest(id=nid, tenant="default"))
        assert [event.type for event in timeline.events] == [types.REQUESTED, types.SENT]


async def test_an_event_the_database_refuses_is_parked_with_the_reason(
    publisher: EventPublisher, broker_url: str
) -> None:
    request = a_request()
    request.content.metadata_json = '{"n": 18446744073709551615}'

    await publisher.publish([request], timeout_s=5)

    async with await aio_pika.connect(broker_url) as connection:
        queue = await (await connection.channel()).get_queue(routing.dead_queue(routing.PROJECTOR_QUEUE), ensure=False)
        parked = await eventually(lambda: queue.get(fail=False))
        assert parked is not None
        assert parked.headers[REASON_HEADER] == "metadata does not fit a document: OverflowError"
        await parked.ack()


@asynccontextmanager
async def _running(components: Sequence[Component]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for component in components:
            await component.start()
            stack.push_async_callback(component.close)
            stack.push_async_callback(component.drain)
        await eventually(
            lambda: not [reason for component in components if (reason := component.ready())], what="readiness"
        )
        yield
