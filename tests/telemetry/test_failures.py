"""What a search for errors finds: every call that failed, and every notification that did."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from wavecom_common.testing.otlp import ReceivedSpan
from wavecom_common.testing.waiting import eventually
from wavecom_stack.infra import Infra

from tests.system import System, running_system

RECIPIENTS = {"email": "user@example.com", "sms": "+15551234567", "push": "device-token-0001"}
NOTIFICATIONS = "/api/notifications"


@pytest.fixture(scope="module")
def failing(infra: Infra, management_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system whose providers take their time and then fail, each call by itself."""
    more = {
        "WAVECOM_SIMULATED_SUCCESS_RATE": "0",
        "WAVECOM_SIMULATED_MAX_DELAY_MS": "1000",
        "WAVECOM_RETRY_BASE_DELAY_S": "0.1",
    }
    folder = tmp_path_factory.mktemp("failing")
    with running_system(infra, management_url, folder, name="failing", more=more) as system:
        yield system


@contextmanager
def client(system: System) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=system.api_url, timeout=30) as api:
        yield api


def published(spans: list[ReceivedSpan], event_type: str) -> list[ReceivedSpan]:
    return [
        span
        for span in spans
        if span.name.startswith("publish") and span.attributes.get("wavecom.event.type") == event_type
    ]


@pytest.mark.timeout(180)
async def test_four_notifications_that_fail_after_four_calls_each_are_twenty_errors(failing: System) -> None:
    with client(failing) as api:
        body = {"recipient": RECIPIENTS["push"], "message": "hello", "channel": "push", "maxAttempts": 4}
        ids = {api.post(NOTIFICATIONS, json=body).json()["data"]["id"] for _ in range(4)}

    def errors() -> list[ReceivedSpan]:
        found = [span for span in failing.otlp.spans if span.is_error]
        found = [span for span in found if span.attributes.get("wavecom.notification.id") in ids]
        assert len(published(found, "NotificationFailed")) == len(ids)
        return found

    found = await eventually(errors, what="the end of all four", timeout_s=60)
    calls = [span for span in found if span.name == "deliver simulated"]
    assert [span.attributes["error.type"] for span in calls] == ["TransientFailure"] * 16
    ends = published(found, "NotificationFailed")
    assert {span.attributes["wavecom.notification.id"] for span in ends} == ids
    assert {span.attributes["error.type"] for span in ends} == {"exhausted"}
    assert len(found) == len(calls) + len(ends)
    assert not any(span.is_error for span in failing.otlp.spans if span.service == "ingest-api")


@pytest.mark.timeout(180)
async def test_a_call_with_many_notifications_makes_a_trace_that_can_be_read(failing: System) -> None:
    bodies = [
        {"recipient": recipient, "message": "hello", "channel": channel, "priority": priority, "maxAttempts": 1}
        for channel, recipient in RECIPIENTS.items()
        for priority in ("high", "low")
    ]
    with client(failing) as api:
        answer = api.post(f"{NOTIFICATIONS}/batch", json={"notifications": bodies}).json()
    ids = {result["data"]["id"] for result in answer["data"]["results"]}

    def whole() -> list[ReceivedSpan]:
        spans = failing.otlp.spans
        trace_ids = {span.trace_id for span in spans if span.attributes.get("wavecom.notification.id") in ids}
        assert len(trace_ids) == 1
        trace = [span for span in spans if span.trace_id in trace_ids]
        assert {span.attributes.get("wavecom.notification.id") for span in trace if "deliver" in span.name} == ids
        ends = published(trace, "NotificationFailed")
        assert sum(int(span.attributes.get("wavecom.event.count", 1)) for span in ends) == len(ids)
        processed = {link for span in trace if span.name.startswith("process status-projector") for link in span.links}
        assert {(span.trace_id, span.span_id) for span in ends} <= processed
        return trace

    trace = await eventually(whole, what="the whole trace", timeout_s=60)
    # By a queue of its own each, and each call of another length: of each notification six on its way and three at most
    # where its events are projected, each by itself, and four of all of them.
    assert len(trace) <= 10 * len(ids), f"{len(trace)} spans: {Counter(span.name for span in trace)}"
