"""Metadata as a document: it travels and is kept in events as JSON text, and stands in the read model as an object."""

from typing import Any, Final

import orjson
from wavecom_common.kernel.errors import Unstorable
from wavecom_common.storage.driver import BSONError, encode

# The server takes 200 levels for a whole update.
MAX_DEPTH: Final = 100
# An object of small numbers takes several times the room of its text. The server's limit of a document is 16 MiB.
MAX_BYTES: Final = 4 * 1024 * 1024


def from_json(text: str) -> dict[str, Any] | None:
    """The object of a JSON text; None for an empty one.

    Raises:
        Unstorable: it is no object, or one the database does not take: nested too deeply, too large, a number beyond
            64 bits, a NUL in a key. So it is refused before the event is stored, and model and store stay agreed.
    """
    if not text:
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Unstorable("metadata is not JSON") from None
    if not isinstance(found, dict):
        raise Unstorable("metadata is not a JSON object")
    # As many brackets as levels are needed at least: with fewer there is no need to walk it.
    if text.count("{") + text.count("[") >= MAX_DEPTH and _is_deeper(found, MAX_DEPTH):
        raise Unstorable(f"metadata is nested more than {MAX_DEPTH} levels deep")
    try:
        size = len(encode(found))
    except (BSONError, OverflowError) as error:
        raise Unstorable(f"metadata does not fit a document: {type(error).__name__}") from None
    if size > MAX_BYTES:
        raise Unstorable(f"metadata takes {size} bytes as a document, more than {MAX_BYTES}")
    return found


def _is_deeper(value: object, levels: int) -> bool:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_is_deeper(child, levels - 1) for child in children)
