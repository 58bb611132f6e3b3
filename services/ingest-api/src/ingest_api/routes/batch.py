"""`POST /api/notifications/batch`: up to a thousand notifications with one call, one confirm to wait for, one answer.

Each is accepted or refused for itself. 201: all were accepted; 207: some were; 400: none was. Whatever refuses a single
notification for another reason than its own content (503, 413, 422) refuses the whole call, and the least urgent
notification decides whether too much is waiting. One exception: of a call that could not be confirmed, senders may have
some already; those are accepted, and the answer is 207.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope
from wavecom_proto.v1.events_pb2 import Event

from ingest_api.accept import Accepted, Acceptor
from ingest_api.body import read_body
from ingest_api.errors import FieldError, Refusal, invalid
from ingest_api.idempotency.header import REPLAYED_HEADER, fingerprint_of, key_of
from ingest_api.idempotency.keys import KeyRecord, StoredAnswer
from ingest_api.keyed import IdempotentRequests, Wanted
from ingest_api.requests import NotificationRequest
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

        def events(record: KeyRecord) -> list[Event]:
            ids = [record.notification_ids[place] for place in places]
            return self._acceptor.events(requests, ids, record.accepted_at_ms)

        wanted = Wanted(len(checked), events, lambda accepted: _answer(checked, accepted))
        answered = await self._keyed.answer(self._keyed.record_id_of(scope, key), fingerprint_of(body), wanted)
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


def _answer(checked: Sequence[Checked], accepted: Sequence[Accepted]) -> StoredAnswer:
    data = _data(checked, accepted)
    message = f"{data['accepted']:,} of {len(checked):,} notifications created and queued for processing"
    content = {"status": "success", "message": message, "data": data}
    return StoredAnswer(207 if data["rejected"] else 201, orjson.dumps(content))


def _data(checked: Sequence[Checked], accepted: Sequence[Accepted]) -> dict[str, Any]:
    """What became of each: refused for what it holds, or accepted, or refused although it was valid."""
    valid = iter(accepted)
    ended = [item if isinstance(item, Refusal) else next(valid) for item in checked]
    results = [
        _refused(index, one)
        if isinstance(one, Refusal)
        else {"index": index, "status": "success", "data": created(one)}
        for index, one in enumerate(ended)
    ]
    rejected = sum(isinstance(one, Refusal) for one in ended)
    return {"accepted": len(ended) - rejected, "rejected": rejected, "results": results}


def _refused(index: int, refusal: Refusal) -> dict[str, Any]:
    errors = [{"field": error.field, "message": error.message} for error in refusal.errors]
    result = {"index": index, "status": "error", "message": refusal.message}
    return result | {"errors": errors} if errors else result


def _response(answer: StoredAnswer) -> Response:
    return Response(answer.body, answer.status_code, media_type="application/json")
