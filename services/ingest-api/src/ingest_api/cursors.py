"""Cursors of listings: a notification's place, as text that means nothing to a client. Pure."""

import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from wavecom_proto.v1.status_pb2 import Place

# A byte that says which form this is, the time in milliseconds, the id.
_FORM: Final = 1
_LAYOUT: Final = struct.Struct(">Bq12s")
PATTERN: Final = r"^[A-Za-z0-9_-]{28}$"
_is_cursor: Final = re.compile(PATTERN).fullmatch
# The last time a document can hold and a client can read.
_MAX_MS: Final = 253_402_300_799_999


def to_cursor(place: Place) -> str:
    """The cursor behind which the listing goes on."""
    return urlsafe_b64encode(_LAYOUT.pack(_FORM, place.created_at_ms, bytes.fromhex(place.id))).decode()


def from_cursor(cursor: str) -> Place | None:
    """The place a cursor stands for; None when it is none of ours."""
    if not _is_cursor(cursor):
        return None
    form, created_at_ms, notification_id = _LAYOUT.unpack(urlsafe_b64decode(cursor))
    if form != _FORM or not 0 <= created_at_ms <= _MAX_MS:
        return None
    return Place(created_at_ms=created_at_ms, id=notification_id.hex())
