"""Reading a request's body, within limits of size and time."""

import asyncio
from functools import lru_cache
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope

from ingest_api.access import HEADERS
from ingest_api.errors import Refusal

MAX_BODY_BYTES: Final = 128 * 1024
# Less than a stopping process waits for the requests it has begun, with the time it takes to accept one.
BODY_TIMEOUT_S: Final = 10.0


class ClientGone(Exception):
    """The client hung up before its request was complete."""


def announced_bytes(scope: Scope, max_bytes: int) -> int:
    """How long the body will be, by its headers: `max_bytes` where they do not say. It has to be said to be JSON.

    Without that, any web page could send one and its browser would not ask first.

    Raises:
        Refusal: 400 when it is not said to be JSON; 413 when it is longer than `max_bytes`.
    """
    headers = scope[HEADERS]
    if not _is_json(headers.get(b"content-type", b"")):
        raise Refusal(400, "The Content-Type must be application/json", reason="invalid")
    if b"transfer-encoding" in headers:
        return max_bytes
    length = int(headers.get(b"content-length", 0))
    _check_length(length, max_bytes)
    return length


async def read_body(receive: Receive, max_bytes: int) -> bytes:
    """All of the body.

    Raises:
        Refusal: 413 when it grows longer than `max_bytes`; 408 when it is not there within `BODY_TIMEOUT_S`.
        ClientGone: it ended early.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _all_of_it(receive, max_bytes)
    except TimeoutError:
        raise _TooSlow from None


class _TooSlow(Refusal):
    def __init__(self) -> None:
        super().__init__(408, f"The body must arrive within {BODY_TIMEOUT_S:g} seconds", reason="too_slow")

    def response(self) -> Response:
        """The envelope, and the end of the connection, which would bring the rest (RFC 9110, section 15.5.9)."""
        response = super().response()
        response.headers["connection"] = "close"
        return response


async def _all_of_it(receive: Receive, max_bytes: int) -> bytes:
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


@lru_cache(maxsize=64)
def _is_json(content_type: bytes) -> bool:
    media_type = content_type.split(b";", 1)[0].strip().lower()
    return media_type == b"application/json" or (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    )


def _check_length(length: int, max_bytes: int) -> None:
    if length > max_bytes:
        raise Refusal(413, f"The body must be at most {max_bytes:,} bytes", reason="too_large")
