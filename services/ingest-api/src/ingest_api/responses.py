"""How an answer's model becomes an HTTP response: in one pass from the model to bytes, without FastAPI's encoders."""

from collections.abc import Mapping

from pydantic import BaseModel
from starlette.responses import Response


def json_response(answer: BaseModel, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`answer` as JSON; fields that nobody set and that are None are left out."""
    body = answer.__pydantic_serializer__.to_json(answer, by_alias=True, exclude_unset=True)
    return Response(body, status_code, headers, media_type="application/json")
