"""The GETs about notifications."""

from enum import Enum
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Query
from starlette.responses import Response
from wavecom_common.events.channels import ChannelName
from wavecom_common.events.listings import MAX_COUNTED
from wavecom_common.kernel.ids import is_notification_id
from wavecom_proto.v1.status_pb2 import Place

from ingest_api import cursors, views
from ingest_api.answers import DetailsAnswer, PageAnswer, Status, TimelineAnswer
from ingest_api.errors import ErrorAnswer, FieldError, invalid, not_found
from ingest_api.responses import json_response
from ingest_api.routes import NOTIFICATIONS
from ingest_api.status_client import StatusReader

# Left out. Not part of the parameters' types: as text, there is no null.
_EVERY: Final[Any] = None
MAX_PAGE: Final = 10_000
MAX_LIMIT: Final = 100
# The first one. Left open, so that one that is given beside a cursor is noticed.
_FIRST: Final[Any] = None
_PAGE: Final = (
    f"Which page, from 1; the first when left out. Pages reach the first {MAX_COUNTED:,} notifications; a cursor "
    "reaches all."
)
_CURSOR: Final = (
    "The `nextCursor` of the page before, whose filters are to be given again. New notifications do not move what "
    "follows a cursor. Not together with `page`."
)
_TAGS: Final[list[str | Enum]] = ["notifications"]

NotificationId = Annotated[
    str, Path(description="The notification's id. One that no notification can have is answered with 404, too.")
]

_UNAVAILABLE: Final[dict[int | str, dict[str, Any]]] = {
    503: {
        "model": ErrorAnswer,
        "description": "Questions cannot be answered now; try again after the time given.",
        "headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}, "required": True}},
    }
}
_NOT_FOUND: Final[dict[int | str, dict[str, Any]]] = {
    404: {"model": ErrorAnswer, "description": "There is no notification of that id."}
}
_INVALID: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorAnswer, "description": "A parameter is wrong; the message names it."}
}


def add_queries(api: FastAPI, reader: StatusReader) -> None:
    """Add the routes, answering from `reader`."""

    @api.get(NOTIFICATIONS, tags=_TAGS, response_model=PageAnswer, responses=_INVALID | _UNAVAILABLE)
    async def list_notifications(
        status: Annotated[Status, Query(description="Only those in this status.")] = _EVERY,
        channel: Annotated[ChannelName, Query(description="Only those on this channel.")] = _EVERY,
        page: Annotated[int, Query(ge=1, le=MAX_PAGE, description=_PAGE, json_schema_extra={"default": 1})] = _FIRST,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many on a page.")] = 20,
        cursor: Annotated[str, Query(description=_CURSOR, json_schema_extra={"pattern": cursors.PATTERN})] = _EVERY,
    ) -> Response:
        """One page of notifications, newest first."""
        after = _place(cursor, page) if cursor is not None else None
        number = _reached(page or 1, limit)
        found = await reader.page(status=status or "", channel=channel or "", page=number, limit=limit, after=after)
        return json_response(views.page(found, page=None if after else number, limit=limit))

    @api.get(NOTIFICATIONS + "/{id}", tags=_TAGS, response_model=DetailsAnswer, responses=_NOT_FOUND | _UNAVAILABLE)
    async def get_notification(id: NotificationId) -> Response:
        """One notification and how far it has come."""
        found = await reader.get(id) if is_notification_id(id) else None
        if found is None:
            raise not_found()
        return json_response(views.details(found))

    @api.get(
        NOTIFICATIONS + "/{id}/events", tags=_TAGS, response_model=TimelineAnswer, responses=_NOT_FOUND | _UNAVAILABLE
    )
    async def get_timeline(id: NotificationId) -> Response:
        """Everything that happened to one notification, oldest first."""
        found = await reader.timeline(id) if is_notification_id(id) else None
        if found is None:
            raise not_found()
        return json_response(views.timeline(id, found))


def _reached(page: int, limit: int) -> int:
    """The page, if its number reaches it: what stands before a page is read to find it."""
    if (page - 1) * limit >= MAX_COUNTED:
        raise invalid(
            [FieldError(field="page", message=f"must be within the first {MAX_COUNTED:,} notifications: use cursor")]
        )
    return page


def _place(cursor: str, page: int | None) -> Place:
    place = cursors.from_cursor(cursor)
    if place is None:
        raise invalid([FieldError(field="cursor", message="must be the nextCursor of a page")])
    if page is not None:
        raise invalid([FieldError(field="cursor", message="must not be given together with page")])
    return place
