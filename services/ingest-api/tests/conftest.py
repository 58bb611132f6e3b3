"""The API over an in-memory pipeline: what is published can be asked for at once."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import grpc
import httpx
import pytest
from ingest_api.accept import Acceptor
from ingest_api.app import create_app
from ingest_api.backlog import Backlog, Thresholds
from ingest_api.idempotency.keys import KeyRecord, StoredAnswer
from ingest_api.keyed import IdempotentRequests
from ingest_api.sinks import EventSink
from ingest_api.status_client import StatusClient
from ingest_api.withdrawals import Withdrawals
from starlette.types import ASGIApp
from wavecom_common.events import types
from wavecom_common.events.listings import MAX_COUNTED
from wavecom_common.events.payloads import Payload
from wavecom_common.kernel.errors import Unavailable
from wavecom_proto.v1 import status_pb2_grpc
from wavecom_proto.v1.events_pb2 import Event
from wavecom_proto.v1.status_pb2 import ListNotificationsResponse, Notification, Place, Timeline

# 2024-12-11T10:30:00.000Z
NOW_MS = 1733913000000


class StandingClock:
    def now_ms(self) -> int:
        return NOW_MS

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


class MemoryPipeline:
    """Publisher and status reader in one. Set `failure` to have it raised."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        # Reports of requests that were withdrawn.
        self.failed: list[Event] = []
        self.notifications: dict[str, Notification] = {}
        self.failure: BaseException | None = None
        self.most_counted = MAX_COUNTED

    async def publish(self, events: Sequence[Event], *, timeout_s: float) -> None:
        self._fail()
        for event in events:
            if event.type == types.FAILED:
                self.failed.append(event)
                continue
            self.events.append(event)
            self.notifications[event.notification_id] = _queued(event)

    async def get(self, notification_id: str) -> Notification | None:
        self._fail()
        return self.notifications.get(notification_id)

    async def page(
        self, *, status: str, channel: str, page: int, limit: int, after: Place | None
    ) -> ListNotificationsResponse:
        self._fail()
        found = [
            notification
            for notification in reversed(self.notifications.values())
            if status in ("", notification.status) and channel in ("", notification.channel)
        ]
        total, capped = min(len(found), self.most_counted), len(found) > self.most_counted
        if after is not None:
            found = [one for one in found if (one.created_at_ms, one.id) < (after.created_at_ms, after.id)]
        skip = 0 if after is not None else (page - 1) * limit
        shown, rest = found[skip : skip + limit], found[skip + limit :]
        place = Place(created_at_ms=shown[-1].created_at_ms, id=shown[-1].id) if rest else None
        return ListNotificationsResponse(notifications=shown, total=total, total_is_capped=capped, next=place)

    async def timeline(self, notification_id: str) -> Timeline | None:
        self._fail()
        events = [event for event in self.events if event.notification_id == notification_id]
        return Timeline(events=events) if events else None

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class MemoryPayloads:
    """Where large payloads are kept. Set `failure` to have it raised."""

    def __init__(self) -> None:
        self.stored: dict[str, Payload] = {}
        self.failure: BaseException | None = None

    async def store(self, payloads: Mapping[str, Payload], *, timeout_s: float) -> None:
        if self.failure is not None:
            raise self.failure
        self.stored |= payloads


class MemoryKeys:
    """Where idempotency keys are kept. Set `failure` to have it raised; requests without a key never come here."""

    def __init__(self) -> None:
        self.records: dict[str, KeyRecord] = {}
        self.calls = 0
        self.failure: BaseException | None = None

    async def reserve(self, record_id: str, record: KeyRecord) -> KeyRecord | None:
        self._called()
        if record_id in self.records:
            return self.records[record_id]
        self.records[record_id] = record
        return None

    async def complete(self, record_id: str, record: KeyRecord, answer: StoredAnswer) -> KeyRecord | None:
        self._called()
        there = self.records.get(record_id)
        if there is not None and there.answer is None and _same(there, record) and there.withdrawn == record.withdrawn:
            self.records[record_id] = replace(there, answer=answer)
            return None
        return there or record

    async def withdraw(self, record_id: str, record: KeyRecord) -> KeyRecord | None:
        self._called()
        there = self.records.get(record_id)
        if there is not None and there.answer is None and _same(there, record):
            self.records[record_id] = replace(there, withdrawn=True)
        return self.records.get(record_id)

    async def renew(self, record_id: str, record: KeyRecord, by: KeyRecord) -> KeyRecord | None:
        self._called()
        there = self.records.get(record_id)
        if there is not None and there.answer is None and _same(there, record) and there.withdrawn:
            self.records[record_id] = by
        return self.records.get(record_id)

    def _called(self) -> None:
        self.calls += 1
        if self.failure is not None:
            raise self.failure


def _same(one: KeyRecord, other: KeyRecord) -> bool:
    return one.notification_ids == other.notification_ids


class MemoryLedger:
    """Who has a notification: senders, or nobody any more. Set `failure` to have it raised."""

    def __init__(self) -> None:
        self.claimed: set[str] = set()
        self.withdrawn: set[str] = set()
        self.calls = 0
        self.failure: BaseException | None = None

    async def withdraw(self, notification_ids: Sequence[str]) -> frozenset[str]:
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        free = frozenset(notification_ids) - self.claimed
        self.withdrawn |= free
        return free


def _queued(event: Event) -> Notification:
    content = event.content
    return Notification(
        id=event.notification_id,
        tenant=event.tenant,
        recipient=content.recipient,
        message=content.message,
        channel=event.channel,
        subject=content.subject if content.HasField("subject") else None,
        status="queued",
        attempts=0,
        max_attempts=content.max_attempts,
        metadata_json=content.metadata_json,
        created_at_ms=event.occurred_at_ms,
        updated_at_ms=event.occurred_at_ms,
        priority=event.priority,
    )


class _Servicer(status_pb2_grpc.StatusQueryServicer):
    """The query service's side of the wire, over the same pipeline."""

    def __init__(self, pipeline: MemoryPipeline) -> None:
        self._pipeline = pipeline

    async def GetNotification(self, request, context):
        return await self._answer(self._pipeline.get(request.id), context)

    async def ListNotifications(self, request, context):
        after = request.after if request.HasField("after") else None
        page = self._pipeline.page(
            status=request.status, channel=request.channel, page=request.page, limit=request.limit, after=after
        )
        return await self._answer(page, context)

    async def GetTimeline(self, request, context):
        return await self._answer(self._pipeline.timeline(request.id), context)

    async def _answer(self, question, context):
        try:
            found = await question
        except Unavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE)
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return found


@pytest.fixture
def pipeline() -> MemoryPipeline:
    return MemoryPipeline()


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def keys() -> MemoryKeys:
    return MemoryKeys()


@pytest.fixture
def payloads() -> MemoryPayloads:
    return MemoryPayloads()


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


@pytest.fixture
async def withdrawals(
    ledger: MemoryLedger, pipeline: MemoryPipeline, clock: StandingClock
) -> AsyncIterator[Withdrawals]:
    withdrawals = Withdrawals(ledger, pipeline, clock)
    yield withdrawals
    await withdrawals.close()


@pytest.fixture
def make_acceptor(payloads: MemoryPayloads, withdrawals: Withdrawals, backlog: Backlog, clock: StandingClock):
    """`make_acceptor(sink)`, with everything else as usual; `tenant` where there is more than one."""

    def make(sink: EventSink, tenant: str = "default") -> Acceptor:
        return Acceptor(
            sink,
            payloads,
            withdrawals,
            backlog,
            clock,
            tenant=tenant,
            default_max_attempts=3,
            timeout_s=1,
            refer_above_bytes=1_000,
        )

    return make


@pytest.fixture
def make_keyed(make_acceptor, withdrawals: Withdrawals, keys: MemoryKeys, clock: StandingClock):
    """`make_keyed(sink)`, for another life of the process on the same keys."""

    def make(sink: EventSink, *client_headers: Sequence[str]) -> IdempotentRequests:
        return IdempotentRequests(make_acceptor(sink), withdrawals, keys, clock, *client_headers)

    return make


@pytest.fixture
def backlog() -> Backlog:
    """As large as a look at the queues says; every message holds one event."""
    return Backlog(Thresholds(5_000, 20_000, 50_000), lambda: (0, 0))


@pytest.fixture
def make_app(pipeline: MemoryPipeline, make_acceptor, make_keyed, clock: StandingClock):
    """`make_app(...)` with the wiring's choices as keywords."""

    def make(*, traced: bool = False, **options: object) -> ASGIApp:
        keyed = make_keyed(pipeline)
        return create_app(make_acceptor(pipeline), keyed, pipeline, clock, traced=traced, **options)

    return make


@pytest.fixture
def app(make_app) -> ASGIApp:
    return make_app()


@pytest.fixture
def make_client():
    """`make_client(app)`; errors are answers, as behind a real server."""

    def make(app: ASGIApp) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost:3000")

    return make


@pytest.fixture
async def client(app: ASGIApp, make_client) -> AsyncIterator[httpx.AsyncClient]:
    async with make_client(app) as client:
        yield client


@pytest.fixture(params=["in memory", "over gRPC"])
async def reader(request: pytest.FixtureRequest, pipeline: MemoryPipeline) -> AsyncIterator[object]:
    """Both readers of statuses: what holds for one holds for the other."""
    if request.param == "in memory":
        yield pipeline
        return
    server = grpc.aio.server()
    status_pb2_grpc.add_StatusQueryServicer_to_server(_Servicer(pipeline), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    reader = StatusClient(f"dns:///127.0.0.1:{port}", tenant="default")
    yield reader
    await reader.close()
    await server.stop(None)
