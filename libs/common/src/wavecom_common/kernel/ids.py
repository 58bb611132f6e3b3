"""Identifiers: made here, in the form MongoDB gives its own documents.

A notification id is an ObjectId as 24 hexadecimal digits: 4 bytes of seconds since the epoch, 5 random bytes of the
process, a 3-byte counter. It sorts by time of creation and says how old it is.
Source: https://www.mongodb.com/docs/manual/reference/bson-types/#objectid
"""

import itertools
import os
import re
import secrets
import socket

_HEX_ID = re.compile(r"[0-9a-f]{24}")
_counter = itertools.count(secrets.randbelow(1 << 24))
_process = secrets.token_bytes(5).hex()


def _renew_after_fork() -> None:
    global _process
    _process = secrets.token_bytes(5).hex()


os.register_at_fork(after_in_child=_renew_after_fork)


def new_notification_id(now_ms: int) -> str:
    """An id no other process makes, carrying the second of `now_ms`."""
    return f"{now_ms // 1000:08x}{_process}{next(_counter) & 0xFFFFFF:06x}"


def is_notification_id(text: str) -> bool:
    """Whether `text` has the form of an id (lower-case hexadecimal, as we make them)."""
    return _HEX_ID.fullmatch(text) is not None


def id_time_ms(notification_id: str) -> int:
    """When the id was made, to the second, in milliseconds since the epoch."""
    return int(notification_id[:8], 16) * 1000


def first_id_of(time_ms: int) -> str:
    """An id below every one made in the second of `time_ms` or later."""
    return f"{time_ms // 1000:08x}{0:016x}"


def new_message_id() -> str:
    """A fresh AMQP message id: the client library matches returned messages by it, so it is unique per publish."""
    return secrets.token_hex(16)


def new_owner(process: str) -> str:
    """A name for one life of a process: a restarted one must not take its predecessor's claims for its own."""
    return f"{process}@{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
