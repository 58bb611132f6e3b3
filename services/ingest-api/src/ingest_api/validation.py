"""A request's body becomes a validated request, or a refusal that names the fields at fault and what would be right."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import jiter
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from wavecom_common.channels.text import RULE_BROKEN
from wavecom_common.events.channels import CHANNELS

from ingest_api.errors import FieldError, Refusal, invalid
from ingest_api.requests import NOTIFICATION_REQUEST, NotificationRequest

_REQUIRED: Final = ("recipient", "message", "channel")
_MAX_ERRORS: Final = 20
_MAX_NAME_CHARACTERS: Final = 64
_MISSING: Final = "is required"
_SEND: Final = "Send a JSON object with recipient, message and channel"
# How the parser names the key, which may be of any length and content.
_A_KEY: Final = re.compile(r'Detected duplicate key ".*"', re.DOTALL)
_CHANNEL: Final = f"must be one of: {', '.join(CHANNELS)}"

# What a field must be, by the type of pydantic's complaint; its context completes the sentence.
_TEXTS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    RULE_BROKEN: lambda context: str(context["must"]),
    "missing": lambda _: _MISSING,
    "extra_forbidden": lambda _: "is not a known field: leave it out",
    "none_required": lambda _: "is not for this channel: leave it out",
    "string_type": lambda _: "must be a string",
    "int_type": lambda _: "must be a whole number",
    "int_parsing": lambda _: "must be a whole number",
    "int_parsing_size": lambda _: "must be a smaller whole number",
    "dict_type": lambda _: "must be a JSON object",
    "literal_error": lambda context: f"must be one of: {context['expected']}".replace("'", "").replace(" or ", ", "),
    "greater_than_equal": lambda context: f"must be at least {context['ge']}",
    "less_than_equal": lambda context: f"must be at most {context['le']}",
}


def parse_json(body: bytes) -> Any:
    """The value a body holds. No key twice in an object, no half of a surrogate pair, no endless nesting.

    Raises:
        Refusal: 400. Its text never repeats what the body holds.
    """
    try:
        return jiter.from_json(body, catch_duplicate_keys=True)
    except ValueError as error:
        complaint = _A_KEY.sub("duplicate key", str(error), count=1)
        reason = f"The body is not valid JSON: {complaint}" if body else "The body is empty"
        raise invalid([], f"{reason}. {_SEND}") from None


def parse_notification(value: object, *, what: str = "body") -> NotificationRequest:
    """The request a value is; `what` it is called in complaints.

    Raises:
        Refusal: 400. Its texts never repeat a recipient or a message.
    """
    try:
        return NOTIFICATION_REQUEST.validate_python(value)
    except ValidationError as error:
        raise _refusal(error, value, what) from None


def field_error(field: str, details: ErrorDetails) -> FieldError:
    """Pydantic's complaint about a field in our words."""
    text = _TEXTS.get(details["type"])
    message = text(details.get("ctx", {})) if text is not None else "has a wrong value"
    return FieldError(
        field=field, message=_MISSING if details["input"] is None and details["type"] == "string_type" else message
    )


def _refusal(error: ValidationError, value: object, what: str) -> Refusal:
    if not isinstance(value, dict):
        return invalid([], f"The {what} must be a JSON object with recipient, message and channel")
    found = error.errors(include_url=False)
    if found[0]["type"].startswith("union_tag"):
        return _refusal_without_channel(value)
    missing = {details["loc"][1] for details in found if _is_missing(details)}
    # The first part of a location is the channel.
    errors = [field_error(_shortened(str(details["loc"][1])), details) for details in found[:_MAX_ERRORS]]
    return _refusal_naming(errors, missing)


def _refusal_without_channel(body: Mapping[str, Any]) -> Refusal:
    """Without its channel it is not known what a request should look like, only what every channel needs."""
    missing = {name for name in _REQUIRED if body.get(name) is None}
    errors = [FieldError(field=name, message=_MISSING) for name in _REQUIRED if name in missing]
    if "channel" not in missing:
        errors.append(FieldError(field="channel", message=_CHANNEL))
    return _refusal_naming(errors, missing)


def _refusal_naming(errors: Sequence[FieldError], missing: Collection[str | int]) -> Refusal:
    names = [name for name in _REQUIRED if name in missing]
    return invalid(errors, f"Missing required fields: {', '.join(names)}" if names else None)


def _is_missing(details: ErrorDetails) -> bool:
    # A null where something is required is as good as nothing.
    return details["type"] == "missing" or (details["loc"][1] in _REQUIRED and details["input"] is None)


def _shortened(name: str) -> str:
    return name if len(name) <= _MAX_NAME_CHARACTERS else f"{name[:_MAX_NAME_CHARACTERS]}..."
