"""The GETs about notifications."""

from enum import Enum
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Query
from starlette.responses import Response
from wavecom_common.events.channels import Channel
from wavecom_common.kernel.ids import is_notification_id

from ingest_api import views
from ingest_api.answers import DetailsAnswer, PageAnswer, Status, TimelineAnswer
from ingest_api.errors import ErrorAnswer, not_found
from ingest_api.responses import json_response
from ingest_api.routes import NOTIFICATIONS
from ingest_api.status_client import StatusReader

# Left out. Not part of the parameters' types: as text, there is no null.
_EVERY: Final[Any] = None
MAX_PAGE: Final = 10_000
MAX_LIMIT: Final = 100
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
        channel: Annotated[Channel, Query(description="Only those on this channel.")] = _EVERY,
        page: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Which page, from 1.")] = 1,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many on a page.")] = 20,
    ) -> Response:
        """One page of notifications, newest first."""
        found = await reader.page(status=status or "", channel=channel or "", page=page, limit=limit)
        return json_response(views.page(found, page=page, limit=limit))

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
