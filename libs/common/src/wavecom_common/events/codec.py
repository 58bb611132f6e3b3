"""Events to the bodies of AMQP messages and back. Content type and encoding travel as AMQP properties.

Sizes and counts are bounded on both sides: `encode` starts another message where one would grow too large, and `decode`
refuses what is too large or too many before it builds anything of it.
Source: https://protobuf.dev/programming-guides/encoding/
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError
from wavecom_proto.v1.events_pb2 import Event, EventBatch

from wavecom_common.kernel.errors import Oversized, Undecodable

CONTENT_TYPE: Final = "application/vnd.wavecom.event-batch.v1+protobuf"
GZIP: Final = "gzip"
# Events share a message up to this, before compression. A consumer holds up to its prefetch of such messages.
MAX_MESSAGE_BYTES: Final = 256 * 1024
# No message has more events, whatever their size.
MAX_EVENTS: Final = 1_000
# A body that is larger, as it is or unpacked, is hostile or broken. Four times what is made, so that what was published
# under a larger bound can be read.
MAX_DECODED_BYTES: Final = 4 * MAX_MESSAGE_BYTES
# An event that is read may grow by the trace context of its readers, and must still fit a message.
_MAX_READ_EVENT_BYTES: Final = MAX_DECODED_BYTES - 64 * 1024

_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS
# The tag of `EventBatch.events`: field 1, length-delimited.
_EVENTS_TAG: Final = 0x0A
# Bytes of a value by its wire type, where that is fixed.
_FIXED_BYTES: Final = {1: 8, 5: 4}


@dataclass(frozen=True, slots=True)
class Encoded:
    """The body of one message, its content encoding (None: as it is), and its size before that."""

    body: bytes
    content_encoding: str | None
    plain_bytes: int


def encode(events: Sequence[Event], *, compress_above_bytes: int) -> list[Encoded]:
    """The events, in order, as few bodies; gzipped above the threshold where that makes them smaller.

    Raises:
        Oversized: an event that `decode` would refuse. Not retryable.
    """
    return [_packed(body, compress_above_bytes) for body in _bodies(events)]


def decode(body: bytes, *, content_type: str | None, content_encoding: str | None) -> list[Event]:
    """The events of a body, at least one. Takes memory in proportion to `MAX_DECODED_BYTES`, whatever the body is.

    Raises:
        Undecodable: wrong content type or encoding, broken bytes, too large, too many events or none, or an event that
            is too large or lacks its id, type or notification id.
    """
    if content_type != CONTENT_TYPE:
        raise Undecodable(f"content type {content_type!r} is not {CONTENT_TYPE!r}")
    plain = _unpacked(body, content_encoding)
    _check(plain)
    try:
        batch = EventBatch.FromString(plain)
    except DecodeError as error:
        raise Undecodable("the body is not an EventBatch") from error
    if not batch.events:
        raise Undecodable("the batch holds no event")
    for event in batch.events:
        if not (event.event_id and event.type and event.notification_id):
            raise Undecodable("an event lacks its id, type or notification id")
    return list(batch.events)


def _bodies(events: Sequence[Event]) -> Iterator[bytes]:
    """Each a serialized `EventBatch`, made of the events' own bytes: making a batch would copy every event first."""
    parts: list[bytes] = []
    size = count = 0
    for event in events:
        data = event.SerializeToString()
        head = _head(len(data))
        added = len(head) + len(data)
        if added > MAX_DECODED_BYTES:
            raise Oversized(f"an event of {len(data)} bytes is larger than a message may be ({MAX_DECODED_BYTES})")
        if parts and (size + added > MAX_MESSAGE_BYTES or count == MAX_EVENTS):
            yield b"".join(parts)
            parts, size, count = [], 0, 0
        parts += head, data
        size += added
        count += 1
    if parts:
        yield b"".join(parts)


def _head(size: int) -> bytes:
    """Tag and length of an event in its batch."""
    if 0x7F < size < 0x4000:
        return bytes((_EVENTS_TAG, size & 0x7F | 0x80, size >> 7))
    head = bytearray((_EVENTS_TAG,))
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head)


def _packed(body: bytes, compress_above_bytes: int) -> Encoded:
    if len(body) > compress_above_bytes:
        packed = gzip.compress(body, compresslevel=1, mtime=0)
        if len(packed) < len(body):
            return Encoded(packed, GZIP, len(body))
    return Encoded(body, None, len(body))


def _unpacked(body: bytes, content_encoding: str | None) -> bytes:
    if len(body) > MAX_DECODED_BYTES:
        raise Undecodable(f"the body has {len(body)} bytes, more than {MAX_DECODED_BYTES}")
    if not content_encoding:
        return body
    if content_encoding != GZIP:
        raise Undecodable(f"content encoding {content_encoding[:64]!r} is not known")
    unpacker = zlib.decompressobj(wbits=_GZIP_WBITS)
    try:
        plain = unpacker.decompress(body, MAX_DECODED_BYTES + 1)
    except zlib.error as error:
        raise Undecodable("the body is not gzip") from error
    if len(plain) > MAX_DECODED_BYTES:
        raise Undecodable(f"the body unpacks to more than {MAX_DECODED_BYTES} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise Undecodable("the body is not gzip")
    return plain


def _check(plain: bytes) -> None:
    """Count the events of a serialized batch and measure them, before anything is built."""
    # An empty event takes two bytes, and none less.
    if len(plain) <= 2 * MAX_EVENTS:
        return
    for count, size in enumerate(_event_sizes(plain), 1):
        if count > MAX_EVENTS:
            raise Undecodable(f"the batch holds more than {MAX_EVENTS} events")
        if size > _MAX_READ_EVENT_BYTES:
            raise Undecodable(f"an event has {size} bytes, more than {_MAX_READ_EVENT_BYTES}")


def _event_sizes(plain: bytes) -> Iterator[int]:
    """The size of each event. Other fields, which only a newer version makes, are passed over."""
    at, end = 0, len(plain)
    while at < end:
        tag, at = _varint(plain, at)
        if tag == _EVENTS_TAG:
            size, at = _varint(plain, at)
            if size > end - at:
                raise Undecodable("the body is not an EventBatch")
            yield size
            at += size
        elif tag & 7 == 2:
            size, at = _varint(plain, at)
            at += size
        elif tag & 7 == 0:
            _, at = _varint(plain, at)
        elif tag & 7 in _FIXED_BYTES:
            at += _FIXED_BYTES[tag & 7]
        else:
            raise Undecodable("the body is not an EventBatch")


def _varint(plain: bytes, at: int) -> tuple[int, int]:
    """The number that begins at a place, and the place after it."""
    value = shift = 0
    # Ten bytes hold 64 bits; more are no number.
    for byte in plain[at : at + 10]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise Undecodable("the body is not an EventBatch")
