"""StatusQuery over real gRPC and a real database."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from status_projector.model.live_model import LiveModel
from status_projector.model.read_model import ReadModel
from status_projector.projector import Projector
from status_projector.query.read_your_writes import ReadYourWrites
from status_projector.query.server import SERVICE, QueryServer
from status_projector.query.servicer import StatusQuery
from status_projector.recovery.rebuild import Rebuild
from status_projector.store.event_store import EventStore
from wavecom_common.events import types
from wavecom_common.events.payloads import Payload, refer
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import ConfigurationError
from wavecom_common.kernel.ids import new_notification_id
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.storage.client import Database
from wavecom_common.storage.payloads import Payloads
from wavecom_common.testing.builders import NOW_MS, a_dispatch, a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event
from wavecom_proto.v1.status_pb2 import GetNotificationRequest, GetTimelineRequest, ListNotificationsRequest, Place
from wavecom_proto.v1.status_pb2_grpc import StatusQueryStub

pytestmark = pytest.mark.connected

YOUNG = ReadYourWrites(window_s=10, most_s=5, max_waiting=10)


@pytest.fixture
async def server(database: Database) -> AsyncIterator[QueryServer]:
    server = _server(database)
    await server.start()
    yield server
    await server.drain()
    await server.close()


@pytest.fixture
async def channel(server: QueryServer) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> StatusQueryStub:
    return StatusQueryStub(channel)


async def test_a_notification_is_shown_as_its_events_made_it(database: Database, stub: StatusQueryStub) -> None:
    request = a_request()
    await _project(database, request, types.started(a_dispatch(request=request), provider="smtp", now_ms=NOW_MS + 1))

    found = await stub.GetNotification(GetNotificationRequest(id=request.notification_id, tenant="default"))

    assert (found.id, found.status, found.attempts) == (request.notification_id, "processing", 1)
    assert (found.recipient, found.message) == (request.content.recipient, request.content.message)


async def test_a_notification_that_names_its_payload_is_shown_whole_also_after_a_rebuild(
    database: Database, stub: StatusQueryStub
) -> None:
    request, whole = a_request(), Payload("x" * 65_536, "A long letter", '{"orderId":"12345"}')
    refer(request.content, "large")
    await Payloads(database).store({"large": whole}, timeout_s=5)
    await _project(database, request)

    rebuilt = await Rebuild(database, settle_s=0).run()
    question = GetNotificationRequest(id=request.notification_id, tenant="default")
    before = await stub.GetNotification(question)
    await ReadModel(database).drop()
    after = await StatusQuery(LiveModel(database), EventStore(database), Payloads(database), YOUNG)._notification(
        question
    )

    assert (rebuilt.report.differing, rebuilt.live) == (0, "notifications_2")
    assert (before.message, before.subject, before.metadata_json) == (whole.message, whole.subject, whole.metadata_json)
    assert after == before


async def test_a_timeline_is_shown_oldest_first_without_content(database: Database, stub: StatusQueryStub) -> None:
    request = a_request()
    attempt = a_dispatch(request=request, now_ms=NOW_MS + 1)
    await _project(database, attempt, request)

    timeline = await stub.GetTimeline(GetTimelineRequest(id=request.notification_id, tenant="default"))

    assert [event.type for event in timeline.events] == [types.REQUESTED, types.DISPATCHED]
    assert not any(event.HasField("content") for event in timeline.events)


async def test_a_listing_has_a_page_and_a_total(database: Database, stub: StatusQueryStub) -> None:
    requests = [a_request(now_ms=NOW_MS + late) for late in range(5)]
    await _project(database, *requests)

    page = await stub.ListNotifications(ListNotificationsRequest(tenant="default", page=2, limit=2, status="queued"))
    beyond = await stub.ListNotifications(ListNotificationsRequest(tenant="default", page=100, limit=100))
    rest = await stub.ListNotifications(ListNotificationsRequest(tenant="default", after=page.next, limit=2))

    assert [one.id for one in page.notifications] == [requests[2].notification_id, requests[1].notification_id]
    assert (page.total, beyond.total, len(beyond.notifications)) == (5, 5, 0)
    assert [one.id for one in rest.notifications] == [requests[0].notification_id]
    assert (rest.total, page.HasField("next"), rest.HasField("next")) == (5, True, False)


async def test_a_notification_that_is_on_its_way_is_waited_for(database: Database, stub: StatusQueryStub) -> None:
    request = a_request(now_ms=SYSTEM_CLOCK.now_ms())
    question = GetNotificationRequest(id=request.notification_id, tenant="default")
    asked = asyncio.ensure_future(stub.GetNotification(question))
    await asyncio.wait([asked], timeout=0.1)

    assert not asked.done()
    await _project(database, request)

    assert (await asked).status == "queued"


@pytest.mark.parametrize("tenant", ["default", "another"])
async def test_what_is_not_there_or_not_the_tenants_is_not_found(
    database: Database, stub: StatusQueryStub, tenant: str
) -> None:
    request = a_request()
    await _project(database, request)
    nid = request.notification_id if tenant == "another" else new_notification_id(NOW_MS)

    assert await _status(stub.GetNotification(GetNotificationRequest(id=nid, tenant=tenant))) == "NOT_FOUND"
    assert await _status(stub.GetTimeline(GetTimelineRequest(id=nid, tenant=tenant))) == "NOT_FOUND"


@pytest.mark.parametrize(
    "question",
    [
        ListNotificationsRequest(page=0, limit=10),
        ListNotificationsRequest(page=101, limit=100),
        ListNotificationsRequest(page=1, limit=10, after=Place(id="nonsense")),
        ListNotificationsRequest(page=1, limit=0),
        ListNotificationsRequest(page=1, limit=101),
        ListNotificationsRequest(page=1, limit=10, status="done"),
        ListNotificationsRequest(page=1, limit=10, channel="fax"),
    ],
    ids=str,
)
async def test_a_wrong_question_is_named(stub: StatusQueryStub, question: ListNotificationsRequest) -> None:
    assert await _status(stub.ListNotifications(question)) == "INVALID_ARGUMENT"


async def test_an_id_that_is_none_is_named(stub: StatusQueryStub) -> None:
    assert await _status(stub.GetNotification(GetNotificationRequest(id="nonsense"))) == "INVALID_ARGUMENT"


async def test_without_a_database_the_answer_is_to_come_again() -> None:
    away = Database("mongodb://127.0.0.1:1/?directConnection=true", "none", operation_timeout_s=0.1)
    server = _server(away)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        question = GetNotificationRequest(id=new_notification_id(NOW_MS), tenant="default")

        assert await _status(StatusQueryStub(channel).GetNotification(question)) == "UNAVAILABLE"
        assert await _health(channel, SERVICE) == HealthCheckResponse.NOT_SERVING
    await server.close()
    await away.close()


async def test_health_is_served_and_reflection_is_not(channel: grpc.aio.Channel) -> None:
    async def serving() -> bool:
        return [await _health(channel, name) for name in ("", SERVICE)] == [HealthCheckResponse.SERVING] * 2

    await eventually(serving)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await _listed(channel)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_reflection_is_served_where_it_is_asked_for(database: Database) -> None:
    server = _server(database, reflects=True)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        assert SERVICE in await _listed(channel)
    await server.close()


async def test_a_call_that_was_begun_is_finished_before_the_server_stops(database: Database) -> None:
    server = _server(database)
    await server.start()
    request = a_request(now_ms=SYSTEM_CLOCK.now_ms())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        question = GetNotificationRequest(id=request.notification_id, tenant="default")
        asked = asyncio.ensure_future(StatusQueryStub(channel).GetNotification(question))
        await asyncio.wait([asked], timeout=0.1)
        drained = asyncio.ensure_future(server.drain())
        await _project(database, request)

        assert (await asked).status == "queued"
        await drained
    await server.close()


async def test_a_port_in_use_is_named(database: Database, server: QueryServer) -> None:
    second = _server(database, port=server.port)

    with pytest.raises(ConfigurationError, match=str(server.port)):
        await second.start()


def _server(database: Database, *, port: int = 0, reflects: bool = False) -> QueryServer:
    servicer = StatusQuery(ReadModel(database), EventStore(database), Payloads(database), YOUNG)
    return QueryServer(servicer, database, host="127.0.0.1", port=port, reflects=reflects)


async def _listed(channel: grpc.aio.Channel) -> list[str]:
    calls = ServerReflectionStub(channel).ServerReflectionInfo(iter([ServerReflectionRequest(list_services="")]))
    return [service.name async for answer in calls for service in answer.list_services_response.service]


async def _project(database: Database, *events: Event) -> None:
    projector = Projector(EventStore(database), ReadModel(database), max_events=1000, linger_s=0)
    await projector(Incoming("status-projector.events", "m", events, asyncio.Event()))


async def _status(call: grpc.aio.UnaryUnaryCall) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code().name


async def _health(channel: grpc.aio.Channel, service: str) -> int:
    return (await HealthStub(channel).Check(HealthCheckRequest(service=service))).status
