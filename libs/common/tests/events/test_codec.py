import gzip
import re

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


@pytest.mark.parametrize(
    ("body", "content_type", "encoding", "why"),
    [
        (b"x", "text/plain", None, f"content type 'text/plain' is not {codec.CONTENT_TYPE!r}"),
        (b"x", codec.CONTENT_TYPE, "x" * 100, f"content encoding {'x' * 64!r} is not known"),
        (b"", codec.CONTENT_TYPE, None, "the batch holds no event"),
        (b"\xff\xff\xff", codec.CONTENT_TYPE, None, "the body is not an EventBatch"),
        (b"not gzip", codec.CONTENT_TYPE, codec.GZIP, "the body is not gzip"),
        (gzip.compress(WHOLE)[:-8], codec.CONTENT_TYPE, codec.GZIP, "the body is not gzip"),
        (b"\x0a\x00", codec.CONTENT_TYPE, None, "an event lacks its id, type or notification id"),
        (b"\x0a\x00" * 1_001, codec.CONTENT_TYPE, None, "the batch holds more than 1000 events"),
        (WHOLE * 20 + b"\x0a\xff\xff\x7f", codec.CONTENT_TYPE, None, "the body is not an EventBatch"),
        (WHOLE * 20 + b"\x0b", codec.CONTENT_TYPE, None, "the body is not an EventBatch"),
        (WHOLE * 20 + b"\xff" * 11, codec.CONTENT_TYPE, None, "the body is not an EventBatch"),
        (
            gzip.compress(b"\0" * (codec.MAX_DECODED_BYTES + 1)),
            codec.CONTENT_TYPE,
            codec.GZIP,
            "the body unpacks to more than 1048576 bytes",
        ),
        (b"\0" * 1_048_577, codec.CONTENT_TYPE, None, "the body has 1048577 bytes, more than 1048576"),
        (
            EventBatch(events=[a_request(message="x" * 983_041)]).SerializeToString(),
            codec.CONTENT_TYPE,
            None,
            r"an event has 983\d\d\d bytes, more than 983040",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)  # fmt: skip
def test_what_cannot_be_read_says_why_and_shows_nothing_of_it(
    body: bytes, content_type: str, encoding: str | None, why: str
) -> None:
    with pytest.raises(Undecodable) as refused:
        decode(body, content_type, encoding)
    assert re.fullmatch(why, str(refused.value)) or str(refused.value) == why


def sized(size: int) -> Event:
    """An event of exactly so many bytes as protobuf has it."""
    event = Event(event_id="i", type="t", notification_id="n", tenant="x" * (size - 11))
    # Less what the length of its longest field takes.
    event.tenant = event.tenant[event.ByteSize() - size :]
    assert event.ByteSize() == size
    return event


def test_the_largest_bodies_can_be_read_and_the_next_larger_cannot() -> None:
    """Compressed or not; of one event, and of as many as there may be."""
    head = 1 + 3
    largest = sized(codec.MAX_DECODED_BYTES - 64 * 1024)
    assert decode(EventBatch(events=[largest]).SerializeToString()) == [largest]
    with pytest.raises(Undecodable):
        decode(EventBatch(events=[sized(codec.MAX_DECODED_BYTES - 64 * 1024 + 1)]).SerializeToString())
    rest = codec.MAX_DECODED_BYTES - largest.ByteSize() - head
    full = EventBatch(events=[largest, sized(rest - head)]).SerializeToString()
    assert len(full) == codec.MAX_DECODED_BYTES
    for body, encoding in ((full, None), (gzip.compress(full, 1), codec.GZIP)):
        assert len(decode(body, encoding=encoding)) == 2
    over = EventBatch(events=[largest, sized(rest - head + 1)]).SerializeToString()
    for body, encoding in ((over, None), (gzip.compress(over, 1), codec.GZIP)):
        with pytest.raises(Undecodable):
            decode(body, encoding=encoding)


def test_as_many_events_as_there_may_be_can_be_read() -> None:
    small = Event(event_id="i", type="t", notification_id="n")
    assert len(decode(EventBatch(events=[small] * codec.MAX_EVENTS).SerializeToString())) == codec.MAX_EVENTS
    with pytest.raises(Undecodable):
        decode(EventBatch(events=[small] * (codec.MAX_EVENTS + 1)).SerializeToString())


@pytest.mark.parametrize("size", [126, 127, 128, 129, 0x3FFF, 0x4000, 0x4001, 0x10000])
def test_an_event_of_any_size_is_framed_as_protobuf_has_it(size: int) -> None:
    [encoded] = codec.encode([sized(size)], compress_above_bytes=10**9)
    assert encoded.body == EventBatch(events=[sized(size)]).SerializeToString()


def test_events_share_a_message_up_to_its_size_and_up_to_its_count() -> None:
    half = codec.MAX_MESSAGE_BYTES // 2
    fits, over = sized(half - 4), sized(half - 3)
    for last, bodies in ((fits, 1), (over, 2)):
        made = codec.encode([fits, last], compress_above_bytes=10**9)
        assert len(made) == bodies
        assert [event for one in made for event in read(one)] == [fits, last]
    # And the message after it has room for as much again.
    assert len(codec.encode([fits, over, sized(half - 5)], compress_above_bytes=10**9)) == 2
    small = Event(event_id="i", type="t", notification_id="n")
    for count, bodies in ((1_000, 1), (1_001, 2), (2_000, 2), (2_001, 3)):
        assert len(codec.encode([small] * count, compress_above_bytes=10**9)) == bodies


def test_the_largest_event_that_can_be_sent_can_be_sent_and_the_next_larger_cannot() -> None:
    head = 1 + 3
    [encoded] = codec.encode([sized(codec.MAX_DECODED_BYTES - head)], compress_above_bytes=10**9)
    assert len(encoded.body) == codec.MAX_DECODED_BYTES
    with pytest.raises(Oversized, match=r"^an event of 1048573 bytes is larger than a message may be"):
        codec.encode([sized(codec.MAX_DECODED_BYTES - head + 1)], compress_above_bytes=10**9)


def test_a_body_is_compressed_above_its_bound_and_where_it_gets_smaller() -> None:
    event = a_request(message="again and again " * 100)
    size = EventBatch(events=[event]).ByteSize()
    assert codec.encode([event], compress_above_bytes=size)[0].content_encoding is None
    [packed] = codec.encode([event], compress_above_bytes=size - 1)
    assert (packed.content_encoding, packed.plain_bytes) == (codec.GZIP, size)
    # The same events make the same bytes: nothing of the time is in them. And fast is preferred to small.
    assert packed.body == gzip.compress(EventBatch(events=[event]).SerializeToString(), compresslevel=1, mtime=0)
    [short] = codec.encode([Event(type="t")], compress_above_bytes=0)
    assert short.content_encoding is None


@pytest.mark.parametrize(
    "field",
    [b"\x10\x05", b"\x10\x80\x01", b"\x10" + b"\xff" * 9 + b"\x01", b"\x1a\x03abc", b"\x1a\x00", b"\x25" + b"4" * 4,
     b"\x29" + b"8" * 8],
    ids=["number", "two bytes", "ten bytes", "text", "no text", "four bytes fixed", "eight bytes fixed"],
)  # fmt: skip
def test_fields_of_a_newer_version_are_passed_over_wherever_they_stand(field: bytes) -> None:
    events = EventBatch(events=[a_request(message="x" * 3000)]).SerializeToString()
    for body in (field + events, events + field, field + field + events + field):
        assert len(decode(body)) == 1
