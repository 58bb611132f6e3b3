import pytest
from dispatcher.routing import route
from wavecom_common.events import types
from wavecom_common.events.channels import CHANNELS, PRIORITIES
from wavecom_common.events.routing import routing_key
from wavecom_common.testing.builders import a_request


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("priority", PRIORITIES)
def test_a_request_goes_to_its_channel_and_priority(channel: str, priority: str) -> None:
    request = a_request(channel=channel, priority=priority)
    follows = route(request, now_ms=7)
    assert (follows.type, follows.attempt, follows.occurred_at_ms) == (types.DISPATCHED, 1, 7)
    assert routing_key(follows) == f"notification.dispatched.{channel}.{priority}"
    assert follows.content == request.content


@pytest.mark.parametrize(
    ("channel", "priority", "error"),
    [("pigeon", "high", "no sender for this channel"), ("email", "urgent", "no queue for this priority")],
)
def test_what_no_queue_takes_ends_as_failed(channel: str, priority: str, error: str) -> None:
    request = a_request(channel=channel, priority=priority)
    assert route(request, now_ms=7) == types.failed(request, error=error, reason=types.UNROUTABLE, now_ms=7)
