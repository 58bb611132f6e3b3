"""A message as it came: its body is held until it is read."""

import pytest
from wavecom_common.events import codec
from wavecom_common.kernel.errors import Undecodable
from wavecom_common.messaging.headers import Past
from wavecom_common.messaging.incoming import Link, Raw, dead_letter
from wavecom_common.messaging.outcome import DeadLetter
from wavecom_common.testing.builders import a_request


@pytest.mark.parametrize("compress_above_bytes", [0, 10**9], ids=["compressed", "plain"])
def test_its_events_are_read_once_and_its_body_is_let_go_of(compress_above_bytes: int) -> None:
    event = a_request(message="again and again " * 100)
    [encoded] = codec.encode([event], compress_above_bytes=compress_above_bytes)
    raw = Raw("q", "m", encoded.body, codec.CONTENT_TYPE, encoded.content_encoding)
    assert raw.decode() == [event]
    assert raw.body == b""


@pytest.mark.parametrize(("content_type", "encoding"), [("text/plain", None), (codec.CONTENT_TYPE, "br")])
def test_what_cannot_be_read_keeps_its_body(content_type: str, encoding: str | None) -> None:
    raw = Raw("q", "m", b"body", content_type, encoding)
    with pytest.raises(Undecodable):
        raw.decode()
    assert raw.body == b"body"
    assert (raw.delivery_count, raw.past) == (0, Past())


def test_a_link_that_is_lost_is_also_abandoned() -> None:
    link = Link()
    assert not link.lost.is_set()
    assert not link.abandoned.is_set()
    link.lose()
    assert link.lost.is_set()
    assert link.abandoned.is_set()


async def test_where_nobody_else_is_at_it_what_is_given_up_is_a_dead_letter() -> None:
    assert await dead_letter(a_request(), "why") == DeadLetter("why")
