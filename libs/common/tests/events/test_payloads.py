"""A payload is known by what it is."""

import hashlib
import itertools

from wavecom_common.events.payloads import Payload, payload_id, payload_of, refer, size_bytes
from wavecom_proto.v1.events_pb2 import Content


def test_different_payloads_have_different_ids_and_equal_ones_the_same() -> None:
    payloads = [
        Payload("ab"),
        Payload("ab", ""),
        Payload("a", "b"),
        Payload("", "ab"),
        Payload("a", None, "b"),
        Payload("0:"),
        Payload("2:ab"),
    ]
    names = {payload_id(tenant, payload) for tenant, payload in itertools.product(("one", "two"), payloads)}

    assert len(names) == 2 * len(payloads)
    assert payload_id("one", Payload("ab", "c", "{}")) == payload_id("one", Payload("ab", "c", "{}"))


def test_a_content_that_refers_to_its_payload_keeps_everything_else() -> None:
    content = Content(
        recipient="ada@example.com",
        message="ä" * 100,
        subject="s",
        metadata_json="{}",
        max_attempts=3,
        on_unknown="fail",
    )
    assert (payload_of(content), size_bytes(content)) == (Payload("ä" * 100, "s", "{}"), 203)

    refer(content, "id")

    assert content == Content(recipient="ada@example.com", max_attempts=3, on_unknown="fail", payload_id="id")


def test_a_payload_without_a_subject_has_none_and_an_empty_one_is_another() -> None:
    assert payload_of(Content(message="m")) == Payload("m", None, "")
    assert payload_of(Content(message="m", subject="")) == Payload("m", "", "")


def test_the_name_of_a_payload_stays_what_it_is() -> None:
    # Stored events name payloads that earlier versions stored.
    names = [payload_id("t", payload) for payload in (Payload("m"), Payload("m", "s", "{}"))]
    expected = [b"1:t1:m-1:0:", b"1:t1:m1:s2:{}"]
    assert names == [hashlib.sha256(data).hexdigest() for data in expected]
