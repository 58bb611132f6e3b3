"""`POST /api/notifications`, a plain ASGI application.

FastAPI's own way to an endpoint (middleware, routing, body, dependencies, encoders) costs several times what this one
does in all. What it takes is declared in `channels`, what it gives in `answers`; `openapi` documents both.
"""

import time
from typing import Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from wavecom_common.telemetry import metrics
from wavecom_common.telemetry.logs import get_logger
from wavecom_proto.v1.events_pb2 import Event

from ingest_api.accept import Acceptor
from ingest_api.body import ClientGone, read_json_body
from ingest_api.errors import Refusal, error_response
from ingest_api.routes import NOTIFICATIONS
from ingest_api.times import iso
from ingest_api.validation import parse_json, parse_notification

MESSAGE: Final = "Notification created and queued for processing"

_log = get_logger()


class CreateNotification:
    """Answers 201 only after the notification's event is confirmed by the broker."""

    def __init__(self, acceptor: Acceptor) -> None:
        self._acceptor = acceptor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, whatever it holds, has one answer; one that is not complete has none."""
        started_s = time.perf_counter()
        try:
            response = await self._answer(scope, receive)
        except ClientGone:
            return
        except Exception:  # noqa: BLE001 - the outermost place: a defect is logged and answered in our envelope
            _log.exception("create_failed")
            response = error_response(500, "Internal server error")
        metrics.ACCEPT_SECONDS.record(time.perf_counter() - started_s, {"status": str(response.status_code)})
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        try:
            request = parse_notification(parse_json(await read_json_body(scope, receive)))
            [event] = await self._acceptor.accept([request])
        except Refusal as refusal:
            metrics.REFUSED.add(1, {"reason": refusal.reason})
            return refusal.response()
        return _created(event)


def _created(event: Event) -> Response:
    # As CreatedAnswer describes it; written without the model, which would cost as much as all of the validation.
    data = {
        "id": event.notification_id,
        "recipient": event.content.recipient,
        "channel": event.channel,
        "status": "queued",
        "createdAt": iso(event.occurred_at_ms),
    }
    body = orjson.dumps({"status": "success", "message": MESSAGE, "data": data})
    headers = {"location": f"{NOTIFICATIONS}/{event.notification_id}"}
    return Response(body, 201, headers, media_type="application/json")
