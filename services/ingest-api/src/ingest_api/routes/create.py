"""`POST /api/notifications`."""

from typing import Any, Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope
from wavecom_common.storage.idempotency import KeyRecord, StoredAnswer
from wavecom_proto.v1.events_pb2 import Event

from ingest_api.accept import Acceptor
from ingest_api.body import MAX_BODY_BYTES, read_body
from ingest_api.idempotency import (
    REPLAYED_HEADER,
    IdempotentRequests,
    fingerprint_of,
    key_of,
)
from ingest_api.routes import NOTIFICATIONS
from ingest_api.times import iso
from ingest_api.validation import parse_json, parse_notification

MESSAGE: Final = "Notification created and queued for processing"


class CreateNotification:
    """Answers 201 only after the notification's event is confirmed by the broker."""

    def __init__(self, acceptor: Acceptor, keyed: IdempotentRequests) -> None:
        self._acceptor = acceptor
        self._keyed = keyed

    async def answer(self, scope: Scope, receive: Receive) -> Response:
        """The answer to one request.

        Raises:
            Refusal: it is not accepted.
            ClientGone: it ended early.
        """
        key = key_of(scope)
        body = parse_json(await read_body(receive, MAX_BODY_BYTES))
        request = parse_notification(body)
        if key is None:
            [event] = await self._acceptor.accept([request])
            return _response(_created(event), event.notification_id)

        async def accept(record: KeyRecord) -> StoredAnswer:
            [event] = await self._acceptor.accept_as([request], record.notification_ids, record.accepted_at_ms)
            return StoredAnswer(201, _created(event))

        record_id = self._keyed.record_id_of(scope, key, tenant=self._acceptor.tenant)
        answered = await self._keyed.answer(record_id, fingerprint_of(body), count=1, accept=accept)
        response = _response(answered.answer.body, _id_in(answered.answer.body))
        if answered.replayed:
            response.headers[REPLAYED_HEADER] = "true"
        return response


def _created(event: Event) -> bytes:
    # As CreatedAnswer describes it; written without the model, which would cost as much as all of the validation.
    return orjson.dumps({"status": "success", "message": MESSAGE, "data": created(event)})


def created(event: Event) -> dict[str, Any]:
    """What is told of a notification that was accepted, as `answers.Created` describes it."""
    return {
        "id": event.notification_id,
        "recipient": event.content.recipient,
        "channel": event.channel,
        "status": "queued",
        "createdAt": iso(event.occurred_at_ms),
    }


def _response(body: bytes, notification_id: str) -> Response:
    return Response(body, 201, {"location": f"{NOTIFICATIONS}/{notification_id}"}, media_type="application/json")


def _id_in(body: bytes) -> str:
    notification_id: str = orjson.loads(body)["data"]["id"]
    return notification_id
