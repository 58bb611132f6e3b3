import gzip

import pytest
from wavecom_common.events import codec
from wavecom_common.kernel.errors import Oversized, Undecodable
from wavecom_common.testing.builders import a_request
from wavecom_proto.v1.events_pb2 import Event, EventBatch


def decode(body: bytes, content_type: str | None = codec.CONTENT_TYPE, encoding: str | None = None) -> list[Event]:
    return codec.decode(body, content_type=content_type, content_encoding=encoding)


def read(encoded: codec.Encoded) -> list[Event]:
    return decode(encoded.body, encoding=encoded.content_encoding)


def test_what_is_encoded_comes_back() -> None:
    events = [a_request(), a_request(channel="sms")]
    [encoded] = codec.encode(events, compress_above_bytes=10_000)
    assert encoded.content_encoding is None
    assert decode(encoded.body) == events


def test_a_large_body_is_compressed_and_comes_back() -> None:
    events = [a_request(message="again and again " * 100) for _ in range(10)]
    [encoded] = codec.encode(events, compress_above_bytes=1000)
    assert encoded.content_encoding == codec.GZIP
    assert len(encoded.body) < EventBatch(events=events).ByteSize() / 5
    assert decode(encoded.body, encoding=codec.GZIP) == events


def test_a_body_is_the_batch_of_its_events_as_protobuf_has_it() -> None:
    events = [a_request(message="x" * size) for size in (0, 100, 20_000)]
    [encoded] = codec.encode(events, compress_above_bytes=100_000)
    assert encoded.body == EventBatch(events=events).SerializeToString()
    [tiny] = codec.encode([Event(type="T")], compress_above_bytes=100_000)
    assert tiny.body == EventBatch(events=[Event(type="T")]).SerializeToString()


@pytest.mark.parametrize("compress_above_bytes", [0, 10**9])
def test_events_that_are_too_large_together_are_several_messages_that_can_be_read(compress_above_bytes: int) -> None:
    events = [a_request(message="x" * 66_000) for _ in range(20)]
    bodies = codec.encode(events, compress_above_bytes=compress_above_bytes)
    assert max(encoded.plain_bytes for encoded in bodies) <= codec.MAX_MESSAGE_BYTES
    assert len(bodies) == 7
    assert [event for encoded in bodies for event in read(encoded)] == events


def test_more_events_than_a_message_may_have_are_several_messages() -> None:
    events = [a_request()] * (codec.MAX_EVENTS + 1)
    bodies = codec.encode(events, compress_above_bytes=10**9)
    assert [event for encoded in bodies for event in read(encoded)] == events


def test_an_event_that_no_message_could_hold_is_refused_when_it_is_encoded() -> None:
    with pytest.raises(Oversized):
        codec.encode([a_request(message="x" * codec.MAX_DECODED_BYTES)], compress_above_bytes=0)


def test_the_largest_event_that_can_be_read_can_be_encoded_with_the_trace_context_of_its_reader() -> None:
    spare = codec.MAX_DECODED_BYTES - 64 * 1024 - a_request(message="").ByteSize() - 8
    [event] = decode(EventBatch(events=[a_request(message="x" * spare)]).SerializeToString())
    event.tracestate = "t" * 8192
    assert len(codec.encode([event], compress_above_bytes=10**9)) == 1


def test_a_body_with_fields_of_a_newer_version_can_be_read() -> None:
    future = b"\x10\x05" + b"\x1a\x03abc" + b"\x25" + b"\0" * 4 + b"\x29" + b"\0" * 8
    body = EventBatch(events=[a_request(message="x" * 3000)]).SerializeToString()
    assert len(decode(future + body + future)) == 1


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


@pytest.mark.parametrize("missing", ["event_id", "type", "notification_id"])
def test_an_event_without_one_of_its_names_is_refused(missing: str) -> None:
    event = a_request()
    event.ClearField(missing)
    with pytest.raises(Undecodable):
        decode(EventBatch(events=[a_request(), event]).SerializeToString())


WHOLE = EventBatch(events=[a_request(message="x" * 150)]).SerializeToString()


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
        (gzip.compress(WHOLE)[:-8], codec.CONTENT_TYPE, codec.GZIP),
        (gzip.compress(WHOLE) + b"x", codec.CONTENT_TYPE, codec.GZIP),
        (gzip.compress(b"\0" * (codec.MAX_DECODED_BYTES + 1)), codec.CONTENT_TYPE, codec.GZIP),
        (b"\x0a\x00" * (codec.MAX_EVENTS + 1), codec.CONTENT_TYPE, None),
        (gzip.compress(WHOLE * (codec.MAX_EVENTS + 1)), codec.CONTENT_TYPE, codec.GZIP),
        (WHOLE * (codec.MAX_DECODED_BYTES // len(WHOLE) + 1), codec.CONTENT_TYPE, None),
        (WHOLE * 20 + b"\x0a\xff\xff\x7f", codec.CONTENT_TYPE, None),
        (WHOLE * 20 + b"\xff" * 11, codec.CONTENT_TYPE, None),
        (WHOLE * 20 + b"\x0b", codec.CONTENT_TYPE, None),
    ],
    ids=["empty", "garbage", "no id", "wrong type", "no type", "unknown encoding", "no gzip", "cut gzip", "cut trailer",
         "behind the gzip", "bomb", "many empty", "many", "large", "cut event", "endless number", "a group"],
)  # fmt: skip
def test_what_cannot_be_read_says_so(body: bytes, content_type: str | None, encoding: str | None) -> None:
    with pytest.raises(Undecodable):
        decode(body, content_type, encoding)
