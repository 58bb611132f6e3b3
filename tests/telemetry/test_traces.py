"""One notification is one trace, through every process."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from wavecom_common.testing.otlp import ReceivedSpan
from wavecom_common.testing.waiting import eventually

from tests.telemetry.edges import missing

RECIPIENTS = {"email": "user@example.com", "sms": "+15551234567", "push": "device-token-0001"}


def trace_with(system: Any, notification_id: str) -> list[ReceivedSpan]:
    spans = system.otlp.spans
    ids = {span.trace_id for span in spans if span.attributes.get("wavecom.notification.id") == notification_id}
    assert len(ids) == 1, f"{len(ids)} traces for one notification"
    return [span for span in spans if span.trace_id in ids]


def publishes(trace: Sequence[ReceivedSpan], event_type: str) -> set[tuple[str, str]]:
    """The spans that published events of this type."""
    return {
        (span.trace_id, span.span_id)
        for span in trace
        if span.name.startswith("publish") and span.attributes.get("wavecom.event.type") == event_type
    }


@pytest.mark.parametrize("channel", ["email", "sms", "push"])
async def test_one_trace_holds_every_step_of_a_notification(api: httpx.Client, system: Any, channel: str) -> None:
    body = {"recipient": RECIPIENTS[channel], "message": "hello", "channel": channel}
    notification_id = api.post("/api/notifications", json=body).json()["data"]["id"]

    def whole() -> list[ReceivedSpan]:
        trace = trace_with(system, notification_id)
        lacks = missing(channel, trace)
        assert not lacks, f"{lacks[0]}; there are {sorted({(s.service, s.name) for s in trace})}"
        return trace

    trace = await eventually(whole, what="the trace", timeout_s=30)
    assert {span.service for span in trace} >= {"ingest-api", "dispatcher", f"{channel}-sender", "status-projector"}
    roots = [span for span in trace if not span.parent_id]
    assert [root.service for root in roots] == ["ingest-api"]


async def test_every_write_of_a_batch_is_in_the_trace_of_each_notification_in_it(
    api: httpx.Client, system: Any
) -> None:
    body = {"recipient": RECIPIENTS["push"], "message": "hello", "channel": "push"}
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: api.post("/api/notifications", json=body), range(24)))
    ids = [answer.json()["data"]["id"] for answer in answers]

    def written() -> bool:
        for notification_id in ids:
            trace = trace_with(system, notification_id)
            writes = {(span.service, span.name) for span in trace if span.attributes.get("db.system.name") == "mongodb"}
            assert writes >= {
                ("push-sender", "claim attempts"),
                ("push-sender", "store outcomes"),
                ("status-projector", "process status-projector.events"),
            }
            # Also the last one, of the end.
            assert (sends := publishes(trace, "NotificationSent"))
            assert sends <= {link for span in trace for link in span.links}
        return True

    await eventually(written, what="the writes' spans", timeout_s=30)
    # The writes' spans tell which commands they were, though those have none of their own.
    commands = {
        event for span in system.otlp.spans if span.name == "process status-projector.events" for event in span.events
    }
    assert commands >= {"insert events", "insert notifications", "update notifications"}


async def test_a_question_is_one_trace_from_rest_over_grpc_to_the_database(api: httpx.Client, system: Any) -> None:
    body = {"recipient": RECIPIENTS["push"], "message": "hello", "channel": "push"}
    notification_id = api.post("/api/notifications", json=body).json()["data"]["id"]
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    assert api.get(f"/api/notifications/{notification_id}", headers=headers).status_code == 200

    def asked() -> bool:
        spans = [span for span in system.otlp.spans if span.trace_id == trace_id]
        databases = [span for span in spans if span.attributes.get("db.system.name") == "mongodb"]
        assert {span.name for span in databases} >= {"find notifications"}
        return {span.service for span in spans} >= {"ingest-api", "status-query"} and bool(databases)

    await eventually(asked, what="the question's trace", timeout_s=30)
