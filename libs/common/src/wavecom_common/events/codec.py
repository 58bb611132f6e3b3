"""Events to the body of one AMQP message and back. Content type and encoding travel as AMQP properties."""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError
from wavecom_proto.v1.events_pb2 import Event, EventBatch

from wavecom_common.kernel.errors import Undecodable

CONTENT_TYPE: Final = "application/vnd.wavecom.event-batch.v1+protobuf"
GZIP: Final = "gzip"
# A body may grow to this when decompressed; more is hostile or broken.
MAX_DECODED_BYTES: Final = 16 * 1024 * 1024
_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Encoded:
    """The body of one message, its content encoding (None: as it is), and its size before that."""

    body: bytes
    content_encoding: str | None
    plain_bytes: int


def encode(events: Sequence[Event], *, compress_above_bytes: int) -> Encoded:
    """The events as one body, gzipped when it is larger than the threshold and that makes it smaller."""
    body = EventBatch(events=events).SerializeToString()
    if len(body) > compress_above_bytes:
        packed = gzip.compress(body, compresslevel=1, mtime=0)
        if len(packed) < len(body):
            return Encoded(packed, GZIP, len(body))
    return Encoded(body, None, len(body))


def decode(body: bytes, *, content_type: str | None, content_encoding: str | None) -> list[Event]:
    """The events of a body, at least one.

    Raises:
        Undecodable: wrong content type or encoding, broken bytes, too large, empty, or an event without id or type.
    """
    if content_type != CONTENT_TYPE:
        raise Undecodable(f"content type {content_type!r} is not {CONTENT_TYPE!r}")
    try:
        batch = EventBatch.FromString(_unpack(body, content_encoding))
    except DecodeError as error:
        raise Undecodable("the body is not an EventBatch") from error
    if not batch.events:
        raise Undecodable("the batch holds no event")
    for event in batch.events:
        if not (event.event_id and event.type and event.notification_id):
            raise Undecodable("an event lacks its id, type or notification id")
    return list(batch.events)


def _unpack(body: bytes, content_encoding: str | None) -> bytes:
    if not content_encoding:
        return body
    if content_encoding != GZIP:
        raise Undecodable(f"content encoding {content_encoding!r} is not known")
    unpacker = zlib.decompressobj(wbits=_GZIP_WBITS)
    try:
        data = unpacker.decompress(body, MAX_DECODED_BYTES + 1)
    except zlib.error as error:
        raise Undecodable("the body is not gzip") from error
    if len(data) > MAX_DECODED_BYTES:
        raise Undecodable(f"the body unpacks to more than {MAX_DECODED_BYTES} bytes")
    if not unpacker.eof:
        raise Undecodable("the body is not gzip")
    return data
