"""The `Idempotency-Key` header: how a key is written, and what makes two bodies the same. See `keyed` for what it does.

Source: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

import hashlib
import json
import re
from typing import Any, Final

import orjson
from starlette.types import Scope

from ingest_api.errors import Refusal

HEADER: Final = "Idempotency-Key"
REPLAYED_HEADER: Final = "Idempotent-Replayed"
MAX_KEY_CHARACTERS: Final = 255

# A string as RFC 8941 quotes it, or the same without quotes.
KEY_PATTERN: Final = (
    rf'^(?:"(?:[ !#-\[\]-~]|\\["\\]){{1,{MAX_KEY_CHARACTERS}}}"|[!#-~](?:[ -~]{{0,{MAX_KEY_CHARACTERS - 2}}}[!-~])?)$'
)
_is_key = re.compile(KEY_PATTERN).fullmatch
_ESCAPED: Final = re.compile(r'\\(["\\])')
_WRONG: Final = (
    f"{HEADER} must be given once, as 1 to {MAX_KEY_CHARACTERS} characters of printable ASCII, with or without quotes"
)
# In small letters. Whose key it is; a gateway may know a name that lasts longer than a token.
CLIENT_HEADERS: Final = ("authorization", "x-api-key")


def key_of(scope: Scope) -> str | None:
    """The request's key, without its quotes; None when it has none.

    Raises:
        Refusal: 400, it is not one.
    """
    values = [value for name, value in scope["headers"] if name == b"idempotency-key"]
    if not values:
        return None
    text = values[0].decode("latin-1").strip()
    if len(values) > 1 or not _is_key(text):
        raise Refusal(400, _WRONG, reason="invalid")
    return _ESCAPED.sub(r"\1", text[1:-1]) if text.startswith('"') else text


def fingerprint_of(body: Any) -> str:
    """A hash of a body's value: the order of keys and white space do not count, all else does."""
    try:
        text = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # An integer of more than 64 bits, in an item of a batch that is going to be refused.
        text = json.dumps(body, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()
