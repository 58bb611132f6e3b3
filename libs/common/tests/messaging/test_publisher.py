"""What a publisher makes of events before the broker sees them."""

import pytest
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.telemetry import metrics
from wavecom_common.testing.builders import a_request


class Counter:
    def __init__(self) -> None:
        self.added = 0

    def inc(self, amount: int) -> None:
        self.added += amount


def test_what_compression_saves_is_counted_of_the_messages_that_are_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = Counter(), Counter()
    monkeypatch.setattr(metrics, "COMPRESSED_FROM_BYTES", before)
    monkeypatch.setattr(metrics, "COMPRESSED_TO_BYTES", after)
    publisher = EventPublisher("amqp://", name="test", required_queues=[], compress_above_bytes=1000)

    publisher.message([a_request()])
    assert (before.added, after.added) == (0, 0)

    events = [a_request() for _ in range(50)]
    message = publisher.message(events)
    assert message.content_encoding == "gzip"
    assert after.added == len(message.body) < before.added
    # Each with its tag and length in front.
    assert before.added == sum(event.ByteSize() + 3 for event in events)
