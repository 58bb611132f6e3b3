"""`POST /api/notifications`."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope
from wavecom_proto.v1.events_pb2 import Event

from ingest_api.accept import Accepted, Acceptor
from ingest_api.body import MAX_BODY_BYTES, read_body
from ingest_api.idempotency.header import REPLAYED_HEADER, fingerprint_of, key_of
from ingest_api.idempotency.keys import StoredAnswer
from ingest_api.keyed import IdempotentRequests, Wanted
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
            assert isinstance(event, Event)
            return _response(_created(event), event.notification_id)
        wanted = Wanted(
            1,
            lambda record: self._acceptor.events([request], record.notification_ids, record.accepted_at_ms),
            _answer,
        )
        answered = await self._keyed.answer(self._keyed.record_id_of(scope, key), fingerprint_of(body), wanted)
        response = _response(answered.answer.body, _id_in(answered.answer.body))
        if answered.replayed:
            response.headers[REPLAYED_HEADER] = "true"
        return response


def _answer(accepted: Sequence[Accepted]) -> StoredAnswer:
    [event] = accepted
    assert isinstance(event, Event)
    return StoredAnswer(201, _created(event))


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
