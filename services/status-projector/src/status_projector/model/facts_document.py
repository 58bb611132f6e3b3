"""Facts as MongoDB has them: what is written, and how a document is read back.

The server compares embedded documents field by field in the order they are stored, so `head`, `lastAttempt` and
`lastError` compare there as their tuples do here.
Source: https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/#objects
"""

from collections.abc import Mapping
from typing import Any, Final

from wavecom_common.storage.driver import DatetimeMS, DBRef, Document, encode

from status_projector.model.facts import Facts, Head, LastAttempt, LastError, Request

# What a listing leaves in the database.
WITHOUT_CONTENT: Final = {"message": 0, "subject": 0, "metadata": 0}


def update(facts: Facts) -> Document:
    """The update that joins `facts` into the stored document, whatever that has seen before.

    Plain operators only: in a pipeline a client's string that starts with "$" would be evaluated.
    """
    # Named one by one: `_asdict` takes three times as long, and this runs for every notification of every batch.
    final, attempt, rank, status = facts.head
    most: Document = {
        "head": {"final": final, "attempt": attempt, "rank": rank, "status": status},
        "updatedAt": DatetimeMS(facts.updated_at_ms),
    }
    least: Document = {}
    if facts.due_at_ms is not None:
        most["dueAt"] = DatetimeMS(facts.due_at_ms)
    if facts.last_attempt is not None:
        number, told, at_ms = facts.last_attempt
        most["lastAttempt"] = {"number": number, "told": told, "at": DatetimeMS(at_ms)}
    if facts.last_error is not None:
        most["lastError"] = facts.last_error._asdict()
    if facts.sent_at_ms is not None:
        least["sentAt"] = DatetimeMS(facts.sent_at_ms)
    if facts.failed_at_ms is not None:
        least["failedAt"] = DatetimeMS(facts.failed_at_ms)
    operators: Document = {"$max": most}
    if least:
        operators["$min"] = least
    if facts.request is not None:
        operators["$set"] = _request_fields(facts.request)
    return operators


def document(facts: Facts) -> Document:
    """The stored document (without its id) of a notification about which exactly `facts` are known."""
    return {field: value for fields in update(facts).values() for field, value in fields.items()}


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """The fields in which two stored documents (without their ids) differ: in value, in type, or in being there."""
    one, other = _encoded(expected), _encoded(found)
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def from_document(found: Document) -> Facts:
    """The facts of a stored document; of one read `WITHOUT_CONTENT`, with the content left empty."""
    last_attempt, last_error = found.get("lastAttempt"), found.get("lastError")
    return Facts(
        head=Head(**found["head"]),
        updated_at_ms=int(found["updatedAt"]),
        due_at_ms=_ms(found.get("dueAt")),
        last_attempt=LastAttempt(last_attempt["number"], last_attempt["told"], int(last_attempt["at"]))
        if last_attempt
        else None,
        last_error=LastError(**last_error) if last_error else None,
        sent_at_ms=_ms(found.get("sentAt")),
        failed_at_ms=_ms(found.get("failedAt")),
        request=_request(found) if "createdAt" in found else None,
    )


def _encoded(fields: Mapping[str, Any]) -> dict[str, bytes]:
    # As bytes: in Python 1, 1.0 and True are equal.
    return {name: encode({"": _plain(value)}) for name, value in fields.items()}


def _request_fields(request: Request) -> Document:
    return {
        "tenant": request.tenant,
        "channel": request.channel,
        "priority": request.priority,
        "recipient": request.recipient,
        "message": request.message,
        "subject": request.subject,
        "metadata": request.metadata,
        "maxAttempts": request.max_attempts,
        "createdAt": DatetimeMS(request.created_at_ms),
        **({"payloadId": request.payload_id} if request.payload_id else {}),
    }


def _request(found: Document) -> Request:
    return Request(
        tenant=found["tenant"],
        channel=found["channel"],
        priority=found["priority"],
        recipient=found["recipient"],
        message=found.get("message", ""),
        subject=found.get("subject"),
        metadata=_plain(found.get("metadata")),
        max_attempts=found["maxAttempts"],
        created_at_ms=int(found["createdAt"]),
        payload_id=found.get("payloadId", ""),
    )


def _ms(date: DatetimeMS | None) -> int | None:
    return None if date is None else int(date)


def _plain(value: Any) -> Any:
    """Metadata as it was given: the driver takes an object with the keys "$ref" and "$id" for a reference."""
    if isinstance(value, DBRef):
        value = dict(value.as_doc())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
