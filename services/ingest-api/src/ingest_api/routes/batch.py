"""`POST /api/notifications/batch`: up to a thousand notifications with one call, one confirm to wait for, one answer.

Each is accepted or refused for itself. 201: all were accepted; 207: some were; 400: none was. Whatever refuses a single
notification for another reason than its own content (503, 413, 422) refuses the whole call, and the least urgent
notification decides whether too much is waiting.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope
from wavecom_common.storage.idempotency import KeyRecord, StoredAnswer
from wavecom_proto.v1.events_pb2 import Event

from ingest_api.accept import Acceptor
from ingest_api.body import read_body
from ingest_api.channels import NotificationRequest
from ingest_api.errors import FieldError, Refusal, invalid
from ingest_api.idempotency import REPLAYED_HEADER, IdempotentRequests, fingerprint_of, key_of
from ingest_api.routes.create import created
from ingest_api.validation import parse_json, parse_notification

MAX_ITEMS: Final = 1_000
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
FIELD: Final = "notifications"

Checked = NotificationRequest | Refusal


class CreateBatch:
    """Answers only after the events of all notifications it accepts are confirmed by the broker."""

    def __init__(self, acceptor: Acceptor, keyed: IdempotentRequests) -> None:
        self._acceptor = acceptor
        self._keyed = keyed

    async def answer(self, scope: Scope, receive: Receive) -> Response:
        """The answer to one call.

        Raises:
            Refusal: nothing of it is accepted.
            ClientGone: it ended early.
        """
        key = key_of(scope)
        body = parse_json(await read_body(receive, MAX_BATCH_BYTES))
        checked = [_check(value) for value in _items(body)]
        places = [place for place, item in enumerate(checked) if not isinstance(item, Refusal)]
        if not places:
            raise _NoneAccepted(checked)
        requests = [item for item in checked if not isinstance(item, Refusal)]
        if key is None:
            return _response(_answer(checked, await self._acceptor.accept(requests)))

        async def accept(record: KeyRecord) -> StoredAnswer:
            ids = [record.notification_ids[place] for place in places]
            return _answer(checked, await self._acceptor.accept_as(requests, ids, record.accepted_at_ms))

        record_id = self._keyed.record_id_of(scope, key, tenant=self._acceptor.tenant)
        answered = await self._keyed.answer(record_id, fingerprint_of(body), count=len(checked), accept=accept)
        response = _response(answered.answer)
        if answered.replayed:
            response.headers[REPLAYED_HEADER] = "true"
        return response


class _NoneAccepted(Refusal):
    def __init__(self, refusals: Sequence[Checked]) -> None:
        super().__init__(400, f"None of the {len(refusals):,} notifications is valid", reason="invalid")
        self._refusals = refusals

    def response(self) -> Response:
        """The envelope of every error, with a result for each notification."""
        content = {"status": "error", "message": self.message, "data": _data(self._refusals, [])}
        return Response(orjson.dumps(content), 400, media_type="application/json")


def _items(body: Any) -> list[Any]:
    if not isinstance(body, dict):
        raise invalid([], f"The body must be a JSON object with {FIELD}")
    if FIELD not in body:
        raise invalid([FieldError(field=FIELD, message="is required")], f"Missing required fields: {FIELD}")
    items = body[FIELD]
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_ITEMS:
        raise invalid([FieldError(field=FIELD, message=f"must be an array of 1 to {MAX_ITEMS:,} notifications")])
    if len(body) > 1:
        raise invalid([], f"The body must hold {FIELD} and nothing else")
    return items


def _check(value: Any) -> Checked:
    try:
        return parse_notification(value, what="notification")
    except Refusal as refusal:
        return refusal


def _answer(checked: Sequence[Checked], events: Sequence[Event]) -> StoredAnswer:
    message = f"{len(events):,} of {len(checked):,} notifications created and queued for processing"
    content = {"status": "success", "message": message, "data": _data(checked, events)}
    return StoredAnswer(201 if len(events) == len(checked) else 207, orjson.dumps(content))


def _data(checked: Sequence[Checked], events: Sequence[Event]) -> dict[str, Any]:
    accepted = iter(events)
    results = [
        _refused(index, item)
        if isinstance(item, Refusal)
        else {"index": index, "status": "success", "data": created(next(accepted))}
        for index, item in enumerate(checked)
    ]
    return {"accepted": len(events), "rejected": len(checked) - len(events), "results": results}


def _refused(index: int, refusal: Refusal) -> dict[str, Any]:
    errors = [{"field": error.field, "message": error.message} for error in refusal.errors]
    result = {"index": index, "status": "error", "message": refusal.message}
    return result | {"errors": errors} if errors else result


def _response(answer: StoredAnswer) -> Response:
    return Response(answer.body, answer.status_code, media_type="application/json")
