"""Reading a request's body, within a limit."""

from typing import Final

from starlette.types import Receive, Scope

from ingest_api.errors import Refusal

MAX_BODY_BYTES: Final = 128 * 1024


class ClientGone(Exception):
    """The client hung up before its request was complete."""


async def read_json_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """All of the body, which is said to be JSON; a request without a content type is taken to be.

    Raises:
        Refusal: 413 when it is longer than `max_bytes`, by its Content-Length or while it arrives; 400 when it is said
            to be something else than JSON.
        ClientGone: it ended early.
    """
    for name, value in scope["headers"]:
        if name == b"content-type":
            _check_content_type(value)
        elif name == b"content-length":
            _check_length(int(value), max_bytes)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        # Nearly always the whole of it comes at once.
        body: bytes = message.get("body", b"")
        _check_length(len(body), max_bytes)
        return body
    chunks = bytearray()
    while message["type"] == "http.request":
        chunks += message.get("body", b"")
        _check_length(len(chunks), max_bytes)
        if not message.get("more_body"):
            return bytes(chunks)
        message = await receive()
    raise ClientGone


def _check_content_type(value: bytes) -> None:
    media_type = value.split(b";", 1)[0].strip().lower()
    if media_type == b"application/json" or (media_type.startswith(b"application/") and media_type.endswith(b"+json")):
        return
    raise Refusal(400, "The Content-Type must be application/json", reason="invalid")


def _check_length(length: int, max_bytes: int) -> None:
    if length > max_bytes:
        raise Refusal(413, f"The body must be at most {max_bytes:,} bytes", reason="too_large")
