import gzip

import pytest
from wavecom_common.events import codec
from wavecom_common.kernel.errors import Undecodable
from wavecom_common.testing.builders import a_request
from wavecom_proto.v1.events_pb2 import Event, EventBatch


def decode(body: bytes, content_type: str | None = codec.CONTENT_TYPE, encoding: str | None = None) -> list[Event]:
    return codec.decode(body, content_type=content_type, content_encoding=encoding)


def test_what_is_encoded_comes_back() -> None:
    events = [a_request(), a_request(channel="sms")]
    encoded = codec.encode(events, compress_above_bytes=10_000)
    assert encoded.content_encoding is None
    assert decode(encoded.body) == events


def test_a_large_body_is_compressed_and_comes_back() -> None:
    events = [a_request(message="again and again " * 100) for _ in range(10)]
    encoded = codec.encode(events, compress_above_bytes=1000)
    assert encoded.content_encoding == codec.GZIP
    assert len(encoded.body) < EventBatch(events=events).ByteSize() / 5
    assert decode(encoded.body, encoding=codec.GZIP) == events


def test_a_field_and_a_type_from_the_future_do_no_harm() -> None:
    event = a_request()
    event.type = "NotificationTeleported"
    # Field 900, a string: what a newer version might add.
    body = EventBatch(events=[event]).SerializeToString()
    future = event.SerializeToString() + b"\xa2\x38\x02hi"
    body = b"\x0a" + bytes([len(future) & 0x7F | 0x80, len(future) >> 7]) + future
    [read] = decode(body)
    assert read.type == "NotificationTeleported"
    assert read.notification_id == event.notification_id


@pytest.mark.parametrize(
    ("body", "content_type", "encoding"),
    [
        (b"", codec.CONTENT_TYPE, None),
        (b"\xff\xff\xff", codec.CONTENT_TYPE, None),
        (EventBatch(events=[Event()]).SerializeToString(), codec.CONTENT_TYPE, None),
        (EventBatch(events=[a_request()]).SerializeToString(), "application/json", None),
        (EventBatch(events=[a_request()]).SerializeToString(), None, None),
        (EventBatch(events=[a_request()]).SerializeToString(), codec.CONTENT_TYPE, "br"),
        (b"not gzip", codec.CONTENT_TYPE, codec.GZIP),
        (gzip.compress(b"x" * 100)[:-9], codec.CONTENT_TYPE, codec.GZIP),
        (gzip.compress(b"\0" * (codec.MAX_DECODED_BYTES + 1)), codec.CONTENT_TYPE, codec.GZIP),
    ],
    ids=["empty", "garbage", "no id", "wrong type", "no type", "unknown encoding", "no gzip", "cut gzip", "bomb"],
)
def test_what_cannot_be_read_says_so(body: bytes, content_type: str | None, encoding: str | None) -> None:
    with pytest.raises(Undecodable):
        decode(body, content_type, encoding)
