"""How a request is refused: one exception, one envelope.

`{"status": "error", "message": ...}`, with `errors` beside it when particular fields are at fault.
"""

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import BaseModel, Field
from starlette.responses import Response

from ingest_api.responses import json_response

RETRY_SOON_S: Final = 1
RETRY_LATER_S: Final = 5


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="The field's name.")
    message: str = Field(description="What is wrong and what would be right. Never repeats a recipient or a message.")


class ErrorAnswer(BaseModel):
    """The body of every answer that is not a success."""

    status: Literal["error"]
    message: str
    errors: list[FieldError] | None = Field(default=None, description="One entry per field that is at fault.")


class Refusal(Exception):
    """Raised where a request is found to be impossible; becomes the answer."""

    def __init__(
        self,
        status_code: int,
        message: str,
        *,
        reason: str,
        errors: Sequence[FieldError] = (),
        retry_after_s: int | None = None,
    ) -> None:
        """`reason` is the label it is counted under: one of few."""
        super().__init__(message)
        self.status_code = status_code
        self.message = message
        self.reason = reason
        self.errors = errors
        self.retry_after_s = retry_after_s

    def response(self) -> Response:
        """The answer to the client."""
        headers = {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}
        return error_response(self.status_code, self.message, errors=self.errors, headers=headers)


def error_response(
    status_code: int,
    message: str,
    *,
    errors: Sequence[FieldError] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """An answer in the error envelope."""
    answer = ErrorAnswer(status="error", message=message)
    if errors:
        answer.errors = list(errors)
    return json_response(answer, status_code, headers)


def invalid(errors: Sequence[FieldError], message: str | None = None) -> Refusal:
    """A 400 that names the fields at fault and what would be right."""
    return Refusal(
        400, message or "; ".join(f"{error.field} {error.message}" for error in errors), reason="invalid", errors=errors
    )


def not_found() -> Refusal:
    """The 404 for a notification that is not there, whatever the form of its id."""
    return Refusal(404, "Notification not found", reason="not_found")
