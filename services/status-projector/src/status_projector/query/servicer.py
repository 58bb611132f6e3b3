"""The answers of the gRPC service StatusQuery."""

from collections.abc import Awaitable
from typing import Any, Final, TypeAlias, TypeVar

import grpc
from wavecom_common.events.channels import CHANNELS
from wavecom_common.events.listings import MAX_COUNTED
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.kernel.ids import is_notification_id
from wavecom_common.storage.payloads import Payloads
from wavecom_common.telemetry.logs import get_logger
from wavecom_proto.v1 import status_pb2
from wavecom_proto.v1.status_pb2 import (
    GetNotificationRequest,
    GetTimelineRequest,
    ListNotificationsRequest,
    ListNotificationsResponse,
    Notification,
    Timeline,
)
from wavecom_proto.v1.status_pb2_grpc import StatusQueryServicer

from status_projector.model.facts import STATUSES
from status_projector.model.live_model import LiveModel
from status_projector.model.read_model import Filters, Place, ReadModel
from status_projector.query.mappers import notification, request_of, with_payload
from status_projector.query.read_your_writes import ReadYourWrites
from status_projector.store.event_store import EventStore

MAX_LIMIT: Final = 100

_log = get_logger()

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Reply = TypeVar("Reply")


class _NotFound(Exception):
    """There is no such notification, or it is another tenant's."""


class _InvalidArgument(Exception):
    """The question itself is wrong; the text says how."""


class StatusQuery(StatusQueryServicer):
    """Answers from the read model and the event store.

    Errors: INVALID_ARGUMENT for a wrong question, NOT_FOUND, and UNAVAILABLE (ask again) for everything time heals.
    """

    def __init__(
        self, read_model: LiveModel | ReadModel, store: EventStore, payloads: Payloads, read_your_writes: ReadYourWrites
    ) -> None:
        self._read_model = read_model
        self._store = store
        self._payloads = payloads
        self._read_your_writes = read_your_writes

    async def GetNotification(self, request: GetNotificationRequest, context: Context) -> Notification:
        """One notification of the tenant."""
        return await _answer(context, self._notification(request))

    async def ListNotifications(self, request: ListNotificationsRequest, context: Context) -> ListNotificationsResponse:
        """One page of the tenant's notifications, newest first."""
        return await _answer(context, self._page(request))

    async def GetTimeline(self, request: GetTimelineRequest, context: Context) -> Timeline:
        """Every event of one notification of the tenant, oldest first."""
        return await _answer(context, self._timeline(request))

    async def _notification(self, request: GetNotificationRequest) -> Notification:
        _check_id(request.id)
        found = await self._read_your_writes.find(request.id, lambda: self._read_model.get(request.tenant, request.id))
        if found is None:
            raise _NotFound
        shown = notification(request.id, found)
        payload_id = request_of(found).payload_id
        if not payload_id:
            return shown
        payload = (await self._payloads.load([payload_id])).get(payload_id)
        if payload is None:
            _log.error("payload_missing", notification_id=request.id, payload_id=payload_id)
            return shown
        return with_payload(shown, payload)

    async def _page(self, request: ListNotificationsRequest) -> ListNotificationsResponse:
        filters, limit = _filters(request), request.limit
        after = _after(request)
        skip = _skip(request) if after is None else 0
        counted = await self._read_model.count(filters)
        # One more than is shown tells whether others follow.
        found = await self._read_model.list(filters, limit=limit + 1, skip=skip, after=after) if skip < counted else []
        page = [notification(*one) for one in found[:limit]]
        return ListNotificationsResponse(
            notifications=page,
            total=min(counted, MAX_COUNTED),
            total_is_capped=counted > MAX_COUNTED,
            next=status_pb2.Place(created_at_ms=page[-1].created_at_ms, id=page[-1].id) if len(found) > limit else None,
        )

    async def _timeline(self, request: GetTimelineRequest) -> Timeline:
        _check_id(request.id)

        async def look() -> Timeline | None:
            events = await self._store.timeline(request.tenant, request.id)
            return Timeline(events=events) if events else None

        found = await self._read_your_writes.find(request.id, look)
        if found is None:
            raise _NotFound
        return found


async def _answer(context: Context, work: Awaitable[Reply]) -> Reply:
    try:
        return await work
    except _NotFound:
        status, details = grpc.StatusCode.NOT_FOUND, "notification not found"
    except _InvalidArgument as error:
        status, details = grpc.StatusCode.INVALID_ARGUMENT, str(error)
    except Unavailable as error:
        status, details = grpc.StatusCode.UNAVAILABLE, str(error)
    await context.abort(status, details)
    raise AssertionError("abort raises")


def _check_id(notification_id: str) -> None:
    if not is_notification_id(notification_id):
        raise _InvalidArgument("id: not a notification id")


def _filters(request: ListNotificationsRequest) -> Filters:
    if request.status and request.status not in STATUSES:
        raise _InvalidArgument(f"status: not one of {', '.join(STATUSES)}")
    if request.channel and request.channel not in CHANNELS:
        raise _InvalidArgument(f"channel: not one of {', '.join(CHANNELS)}")
    if not 1 <= request.limit <= MAX_LIMIT:
        raise _InvalidArgument(f"limit: 1 to {MAX_LIMIT}")
    return Filters(request.tenant, status=request.status or None, channel=request.channel or None)


def _skip(request: ListNotificationsRequest) -> int:
    if request.page < 1:
        raise _InvalidArgument("page: counts from 1")
    skip = (request.page - 1) * request.limit
    if skip >= MAX_COUNTED:
        raise _InvalidArgument(f"page: reaches the first {MAX_COUNTED} notifications; use after")
    return skip


def _after(request: ListNotificationsRequest) -> Place | None:
    if not request.HasField("after"):
        return None
    if not is_notification_id(request.after.id):
        raise _InvalidArgument("after: not a place of a notification")
    return Place(request.after.created_at_ms, request.after.id)
