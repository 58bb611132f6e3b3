"""The OpenAPI document: FastAPI's own for the GETs, and the POST's from the models that validate it."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from ingest_api.answers import CreatedAnswer
from ingest_api.backlog import REFUSED_FROM
from ingest_api.body import MAX_BODY_BYTES
from ingest_api.channels import NOTIFICATION_REQUEST
from ingest_api.errors import ErrorAnswer
from ingest_api.idempotency import HEADER, KEY_PATTERN, MAX_KEY_CHARACTERS, REPLAYED_HEADER
from ingest_api.routes import NOTIFICATIONS

_REF: Final = "#/components/schemas/{model}"
# Where what was created can be read.
_LINKS: Final = {
    operation_id: {"operationId": operation_id, "parameters": {"id": "$response.body#/data/id"}}
    for operation_id in ("get_notification", "get_timeline")
}
_EXAMPLE: Final = {
    "recipient": "user@example.com",
    "message": "Your order has been shipped!",
    "channel": "email",
    "subject": "Order Update",
    "metadata": {"orderId": "12345", "userId": "user-abc"},
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
    "It could not be accepted now; try again after the time given. When too many notifications wait, priority `low` is "
    f"refused first: from a threshold of the operator's on; `medium` from {REFUSED_FROM['medium']} times of it, `high` "
    f"from {REFUSED_FROM['high']} times."
)


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
    post, post_schemas = _post()
    document["paths"][NOTIFICATIONS] = {"post": post, **document["paths"][NOTIFICATIONS]}
    schemas.update(post_schemas)
    return document


def _post() -> tuple[dict[str, Any], dict[str, Any]]:
    """The operation, and the schemas it refers to."""
    by_input, definitions = TypeAdapter.json_schemas(
        [
            ("request", "validation", NOTIFICATION_REQUEST),
            ("created", "serialization", TypeAdapter(CreatedAnswer)),
            ("error", "serialization", TypeAdapter(ErrorAnswer)),
        ],
        ref_template=_REF,
    )
    error = by_input["error", "serialization"]
    retry_after = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}, "required": True}}
    location = {"Location": {"description": "Where it can be read.", "schema": {"type": "string"}, "required": True}}
    operation = {
        "tags": ["notifications"],
        "operationId": "create_notification",
        "summary": "Create Notification",
        "description": (
            "Accepts a notification. The answer comes when it is safe with the message broker.\n\n"
            f"The body is JSON of at most {MAX_BODY_BYTES:,} bytes; a request without Content-Type is taken to be JSON."
        ),
        "parameters": [_KEY],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": by_input["request", "validation"],
                    "examples": {"email": {"value": _EXAMPLE}},
                }
            },
        },
        "responses": {
            "201": _response("Accepted.", by_input["created", "serialization"], location | _REPLAYED)
            | {"links": _LINKS},
            "400": _response("The request is wrong; the message names the field and what would be right.", error),
            "422": _response(f"The {HEADER} was used before with another body.", error),
            "413": _response(f"The body is larger than {MAX_BODY_BYTES:,} bytes.", error),
            "503": _response(_UNAVAILABLE, error, retry_after),
        },
    }
    return operation, definitions["$defs"]


def _response(description: str, schema: dict[str, Any], headers: dict[str, Any] | None = None) -> dict[str, Any]:
    response: dict[str, Any] = {"description": description, "content": {"application/json": {"schema": schema}}}
    return response | {"headers": headers} if headers else response
