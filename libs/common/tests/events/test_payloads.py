"""A payload is known by what it is."""

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
