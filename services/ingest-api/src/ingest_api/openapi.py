"""The OpenAPI document: FastAPI's own for the GETs, and the POSTs' from the models that validate them."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, TypeAdapter
from wavecom_common.channels.registry import declared

from ingest_api.answers import BatchAnswer, BatchErrorAnswer, CreatedAnswer
from ingest_api.backlog import REFUSED_FROM
from ingest_api.body import BODY_TIMEOUT_S, MAX_BODY_BYTES
from ingest_api.errors import ErrorAnswer
from ingest_api.idempotency.header import HEADER, KEY_PATTERN, MAX_KEY_CHARACTERS, REPLAYED_HEADER
from ingest_api.requests import NOTIFICATION_REQUEST
from ingest_api.routes import BATCH, NOTIFICATIONS
from ingest_api.routes.batch import FIELD, MAX_BATCH_BYTES, MAX_ITEMS

_REF: Final = "#/components/schemas/{model}"
# Where what was created can be read.
_LINKS: Final = {
    operation_id: {"operationId": operation_id, "parameters": {"id": "$response.body#/data/id"}}
    for operation_id in ("get_notification", "get_timeline")
}
_KEY: Final = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": (
        "A name of the client's own for this request, such as a UUID, so that it can be sent again when its answer was "
        "lost: the same key and the same body (as JSON values) are accepted once and have one answer. "
        f"At most {MAX_KEY_CHARACTERS} characters, in quotes or not; kept for 24 hours unless the operator says "
        "otherwise; known only together with the Authorization and X-API-Key it came with."
    ),
    "schema": {"type": "string", "pattern": KEY_PATTERN},
}
_REPLAYED: Final = {
    REPLAYED_HEADER: {
        "description": f"`true`: the answer is that of an earlier request with this {HEADER}.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}


_UNAVAILABLE: Final = (
    "It could not be accepted now; try again after the time given. Too many requests are being worked on or hold too "
    "much memory, or it could not be confirmed. When too many notifications of a channel wait, its "
    "priority `low` is refused first: from a threshold of the operator's on; `medium` from "
    f"{REFUSED_FROM['medium']} times of it, `high` from {REFUSED_FROM['high']} times."
)


# Of every operation.
_MISDIRECTED: Final = {
    "403": "It comes from a web page of an origin that may not call.",
    "421": "The Host header names a host that is not served here.",
}
_RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}, "required": True}}
_LOCATION: Final = {
    "Location": {"description": "Where it can be read.", "schema": {"type": "string"}, "required": True}
}
_ANSWERS: Final[tuple[type[BaseModel], ...]] = (CreatedAnswer, ErrorAnswer, BatchAnswer, BatchErrorAnswer)


def describe(app: FastAPI) -> dict[str, Any]:
    """The document for everything `app` answers."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, openapi_version="3.1.0"
    )
    schemas = document["components"]["schemas"]
    # FastAPI announces its own answer to wrong parameters; ours is a 400 in our envelope.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    post, batch, post_schemas = _posts()
    document["paths"][NOTIFICATIONS] = {"post": post, **document["paths"][NOTIFICATIONS]}
    document["paths"][BATCH] = {"post": batch}
    schemas.update(post_schemas)
    error = {"$ref": _REF.format(model=ErrorAnswer.__name__)}
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"] |= {
                status: _response(description, error) for status, description in _MISDIRECTED.items()
            }
    return document


def _posts() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The operation for one notification, that for a batch, and the schemas they refer to."""
    by_input, definitions = TypeAdapter.json_schemas(
        [
            ("request", "validation", NOTIFICATION_REQUEST),
            *[(answer, "serialization", TypeAdapter(answer)) for answer in _ANSWERS],
        ],
        ref_template=_REF,
    )
    request = by_input["request", "validation"]
    examples = {name: channel.example for name, channel in declared().items()}
    created, error, batch, batch_error = (by_input[answer, "serialization"] for answer in _ANSWERS)
    post = {
        "tags": ["notifications"],
        "operationId": "create_notification",
        "summary": "Create Notification",
        "description": (
            "Accepts a notification. The answer comes when it is safe with the message broker.\n\n"
            f"The body is JSON of at most {MAX_BODY_BYTES:,} bytes, with `Content-Type: application/json`."
        ),
        "parameters": [_KEY],
        "requestBody": _body(request, examples),
        "responses": {
            "201": _response("Accepted.", created, _LOCATION | _REPLAYED) | {"links": _LINKS},
            "400": _response("The request is wrong; the message names the field and what would be right.", error),
            **_refusals(error, MAX_BODY_BYTES),
        },
    }
    batch_request = {
        "type": "object",
        "required": [FIELD],
        "additionalProperties": False,
        "properties": {FIELD: {"type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": request}},
    }
    batch_post = {
        "tags": ["notifications"],
        "operationId": "create_notifications",
        "summary": "Create Notifications",
        "description": (
            f"Accepts 1 to {MAX_ITEMS:,} notifications, each for itself: valid ones are accepted, wrong ones are named "
            "by their index with what is wrong. The answer comes when all that are accepted are safe with the message "
            "broker.\n\n"
            f"The body is JSON of at most {MAX_BATCH_BYTES:,} bytes, with `Content-Type: application/json`. "
            "When too many notifications wait, the least urgent one decides for the whole call."
        ),
        "parameters": [_KEY],
        "requestBody": _body(batch_request, {"mixed": {FIELD: list(examples.values())}}),
        "responses": {
            "201": _response("All of them were accepted.", batch, _REPLAYED),
            "207": _response("Some were accepted, some were refused: see the results.", batch, _REPLAYED),
            "400": _response("The request is wrong, or every single notification.", batch_error),
            **_refusals(error, MAX_BATCH_BYTES),
        },
    }
    return post, batch_post, definitions["$defs"]


def _body(schema: dict[str, Any], examples: Mapping[str, object]) -> dict[str, Any]:
    shown = {name: {"value": example} for name, example in examples.items()}
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": shown}}}


def _refusals(error: dict[str, Any], max_bytes: int) -> dict[str, Any]:
    """The answers to both operations when nothing is accepted for another reason than the content."""
    return {
        "408": _response(f"The body did not arrive within {BODY_TIMEOUT_S:g} seconds; nothing was accepted.", error),
        "413": _response(f"The body is larger than {max_bytes:,} bytes.", error),
        "422": _response(f"The {HEADER} was used before with another body.", error),
        "503": _response(_UNAVAILABLE, error, _RETRY_AFTER),
    }


def _response(description: str, schema: dict[str, Any], headers: dict[str, Any] | None = None) -> dict[str, Any]:
    response: dict[str, Any] = {"description": description, "content": {"application/json": {"schema": schema}}}
    return response | {"headers": headers} if headers else response
