"""What a client sends is in the event store and with the provider, and in nothing that an operator reads beside it."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from wavecom_common.testing.waiting import eventually

# A word of its own in everything a client can send: what is found somewhere says where it came from.
RUN = uuid.uuid4().hex[:8]
DIGITS = str(uuid.uuid4().int)[:7]
PHONE = f"+1415{DIGITS}"
HEADERS = {
    "user-agent": f"agent-{RUN}",
    "authorization": f"Bearer authorization-{RUN}",
    "x-api-key": f"apikey-{RUN}",
    "idempotency-key": f"key-{RUN}",
    "x-forwarded-for": f"forwarded-{RUN}",
    "referer": f"http://localhost/referer-{RUN}",
    "cookie": f"session=cookie-{RUN}",
    "tracestate": f"vendor=state-{RUN}",
    "baggage": f"user=baggage-{RUN}",
    "x-request-id": f"request-{RUN}",
}
RECIPIENTS = {"email": f"recipient-{RUN}@example.com", "sms": PHONE, "push": f"device-token-{RUN}"}


def notification(channel: str) -> dict[str, Any]:
    body = {"recipient": RECIPIENTS[channel], "message": f"message-{RUN}", "channel": channel}
    return body | {"metadata": {f"name-{RUN}": f"metadata-{RUN}"}} | ({"subject": RUN} if channel == "email" else {})


def bodies() -> Iterator[bytes]:
    """What is posted: valid ones, and ones that are wrong in ways whose answers quote them."""
    for channel in RECIPIENTS:
        yield json.dumps(notification(channel)).encode()
        yield json.dumps({"notifications": [notification(channel), {"channel": RUN}]}).encode()
    yield json.dumps(notification("email") | {"recipient": f"no-address-{RUN}"}).encode()
    yield json.dumps(notification("sms") | {f"field-{RUN}": 1, "priority": RUN, "maxAttempts": RUN}).encode()
    yield f'{{"recipient": "broken-{RUN}'.encode()
    yield json.dumps(f"text-{RUN}").encode()
    yield f"large-{RUN}".encode() * 20_000


def ask_everything(api: httpx.Client) -> set[int]:
    """Every route of the OpenAPI document and some paths of none, with every method; the statuses of the answers."""
    query = {"recipient": f"query-{RUN}@example.com", f"query-{RUN}": "1", "cursor": RUN, "status": RUN}
    paths = [path.replace("{id}", f"segment-{RUN}") for path in api.get("/openapi.json").json()["paths"]]
    paths += [f"/unknown-{RUN}", f"/api/notifications/segment-{RUN}/unknown-{RUN}", "/docs", f"/docs/unknown-{RUN}"]
    statuses = set()
    for number, path in enumerate(paths):
        for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", f"METHOD-{RUN}"):
            for more in ({}, query):
                statuses.add(api.request(method, path, params=more, headers=HEADERS).status_code)
        for body, kind in [*((body, "application/json") for body in bodies()), (b"{}", f"text/type-{RUN}")]:
            keyed = {"content-type": kind, "idempotency-key": f"key-{RUN}-{number}-{len(body)}"}
            statuses.add(api.post(path, content=body, params=query, headers=HEADERS | keyed).status_code)
    for strange in ({"origin": f"http://origin-{RUN}.example"}, {"host": f"host-{RUN}.example"}):
        statuses.add(api.post("/api/notifications", json=notification("sms"), headers=HEADERS | strange).status_code)
        statuses.add(api.get("/api/notifications", headers=HEADERS | strange).status_code)
    return statuses


@pytest.mark.timeout(120)
async def test_nothing_a_client_sends_is_in_spans_logs_or_metrics(api: httpx.Client, system: Any) -> None:
    statuses = ask_everything(api)
    assert statuses >= {200, 201, 207, 400, 404, 405, 413}
    accepted = []
    for channel in RECIPIENTS:
        headers = HEADERS | {"idempotency-key": f"key-{RUN}-{channel}"}
        answer = api.post("/api/notifications", json=notification(channel), headers=headers)
        accepted.append(answer.json()["data"]["id"])
    for notification_id in accepted:
        assert api.get(f"/api/notifications/{notification_id}", headers=HEADERS).status_code == 200
        assert api.get(f"/api/notifications/{notification_id}/events", headers=HEADERS).status_code == 200

    def delivered() -> bool:
        calls = {span.attributes.get("wavecom.notification.id") for span in system.otlp.spans if "deliver" in span.name}
        return calls.issuperset(accepted)

    await eventually(delivered, what="the provider calls' spans", timeout_s=60)
    seen = [("a span", span.text) for span in system.otlp.spans]
    seen += [(log.name, log.read_text()) for log in system.folder.glob("*.log")]
    seen += [(f"metrics of {name}", httpx.get(f"{url}/metrics").text) for name, url in system.admin_urls.items()]
    assert len(seen) > 100
    leaks = [(where, line) for where, text in seen for line in text.splitlines() if RUN in line or DIGITS in line]
    keys = {key for span in system.otlp.spans for key in span.attributes}
    assert not [
        key for key in keys if key.startswith(("client.", "net.", "network.", "url.p", "url.q", "user", "http.u"))
    ]
    assert not leaks, f"{len(leaks)} in all, such as {leaks[:5]}"
