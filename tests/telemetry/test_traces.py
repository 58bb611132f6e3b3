"""One notification is one trace, through every process."""

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


async def test_the_writes_to_the_database_are_in_the_trace_or_linked_to_it(api: httpx.Client, system: Any) -> None:
    body = {"recipient": RECIPIENTS["push"], "message": "hello", "channel": "push"}
    notification_id = api.post("/api/notifications", json=body).json()["data"]["id"]

    def written() -> bool:
        trace_id = trace_with(system, notification_id)[0].trace_id
        spans = system.otlp.spans
        linked = {s.trace_id for s in spans if any(link[0] == trace_id for link in s.links)} | {trace_id}
        databases = [s for s in spans if s.trace_id in linked and s.attributes.get("db.system") == "mongodb"]
        return {s.service for s in databases} >= {"status-projector"}

    await eventually(written, what="the database's spans", timeout_s=30)


async def test_a_question_is_one_trace_from_rest_over_grpc_to_the_database(api: httpx.Client, system: Any) -> None:
    body = {"recipient": RECIPIENTS["push"], "message": "hello", "channel": "push"}
    notification_id = api.post("/api/notifications", json=body).json()["data"]["id"]
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    assert api.get(f"/api/notifications/{notification_id}", headers=headers).status_code == 200

    def asked() -> bool:
        spans = [span for span in system.otlp.spans if span.trace_id == trace_id]
        databases = [span for span in spans if span.attributes.get("db.system") == "mongodb"]
        return {span.service for span in spans} >= {"ingest-api", "status-query"} and bool(databases)

    await eventually(asked, what="the question's trace", timeout_s=30)


async def test_no_span_holds_a_message_or_an_address(api: httpx.Client, system: Any) -> None:
    secret, address = "the-word-no-span-may-hold", "never.in.a.span@example.com"
    body = {"recipient": address, "message": secret, "channel": "email"}
    notification_id = api.post("/api/notifications", json=body).json()["data"]["id"]
    await eventually(
        lambda: any(span.name == "deliver simulated" for span in trace_with(system, notification_id)), timeout_s=30
    )
    told = "\n".join(f"{span.name} {span.attributes}" for span in system.otlp.spans)
    assert secret not in told
    assert address not in told
