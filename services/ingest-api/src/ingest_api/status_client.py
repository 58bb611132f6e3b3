"""Asking status-projector about notifications, over gRPC."""

import json
from collections.abc import Awaitable
from typing import Final, Protocol, TypeVar

import grpc
from wavecom_common.kernel.component import Component
from wavecom_common.kernel.errors import Unavailable
from wavecom_proto.v1.status_pb2 import (
    GetNotificationRequest,
    GetTimelineRequest,
    ListNotificationsRequest,
    ListNotificationsResponse,
    Notification,
    Place,
    Timeline,
)
from wavecom_proto.v1.status_pb2_grpc import StatusQueryStub

# A GET of a notification just posted waits on the other side, briefly and bounded, for it to appear.
DEADLINE_S: Final = 5.0

# A query changes nothing, so another server may be asked at once when one is going away.
_SERVICE_CONFIG: Final = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": "wavecom.v1.StatusQuery"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
_OPTIONS: Final = [
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # The default grows to two minutes: too long to stay blind after the other side came back.
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
]

Reply = TypeVar("Reply")


class StatusReader(Protocol):
    """What the GETs need. Every method raises `Unavailable` when there is no answer in time; retryable."""

    async def get(self, notification_id: str) -> Notification | None:
        """One notification; None where there is none."""
        ...

    async def page(
        self, *, status: str, channel: str, page: int, limit: int, after: Place | None
    ) -> ListNotificationsResponse:
        """One page, newest first, or what follows a place; an empty status or channel means every one."""
        ...

    async def timeline(self, notification_id: str) -> Timeline | None:
        """Every event of one notification, oldest first; None where there is none."""
        ...


class StatusClient(Component):
    """The StatusReader over gRPC, spread over every address the target resolves to; a component of a process.

    It connects with the first question, and is always ready: notifications are accepted while questions about them
    cannot be answered.
    """

    def __init__(
        self,
        target: str,
        *,
        tenant: str,
        interceptors: list[grpc.aio.ClientInterceptor] | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._tenant = tenant
        self._channel = (
            grpc.aio.insecure_channel(target, options=_OPTIONS, interceptors=interceptors)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options=_OPTIONS, interceptors=interceptors)
        )
        self._stub = StatusQueryStub(self._channel)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def get(self, notification_id: str) -> Notification | None:
        """One notification; None where there is none."""
        request = GetNotificationRequest(id=notification_id, tenant=self._tenant)
        return await _answer(self._stub.GetNotification(request, timeout=DEADLINE_S))

    async def page(
        self, *, status: str, channel: str, page: int, limit: int, after: Place | None
    ) -> ListNotificationsResponse:
        """One page, newest first, or what follows a place."""
        request = ListNotificationsRequest(
            tenant=self._tenant, status=status, channel=channel, page=page, limit=limit, after=after
        )
        found = await _answer(self._stub.ListNotifications(request, timeout=DEADLINE_S))
        return found if found is not None else ListNotificationsResponse()

    async def timeline(self, notification_id: str) -> Timeline | None:
        """Every event of one notification, oldest first; None where there is none."""
        request = GetTimelineRequest(id=notification_id, tenant=self._tenant)
        return await _answer(self._stub.GetTimeline(request, timeout=DEADLINE_S))


async def _answer(call: Awaitable[Reply]) -> Reply | None:
    """The reply; None when what was asked for is not there."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise Unavailable(f"the query service answered {error.code().name}") from error
