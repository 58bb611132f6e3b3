"""From POST to sent, through all processes."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from wavecom_common.channels.registry import declared
from wavecom_common.events import routing
from wavecom_common.events.channels import CHANNELS
from wavecom_common.messaging.connection import connected
from wavecom_common.testing.waiting import eventually

RECIPIENTS = {name: channel.sandbox(1) for name, channel in declared().items()}


def post(api: httpx.Client, channel: str, **more: Any) -> str:
    body = {"recipient": RECIPIENTS[channel], "message": "Your order has been shipped!", "channel": channel, **more}
    answer = api.post("/api/notifications", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["id"])


def get(api: httpx.Client, notification_id: str) -> dict[str, Any]:
    answer = api.get(f"/api/notifications/{notification_id}")
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def sent(api: httpx.Client, notification_id: str) -> dict[str, Any]:
    def probe() -> dict[str, Any] | None:
        found = get(api, notification_id)
        return found if found["status"] == "sent" else None

    found = await eventually(probe, what="the delivery", timeout_s=30)
    assert found is not None
    return found


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("priority", ["high", "medium", "low"])
async def test_a_notification_of_every_channel_and_priority_is_sent(
    api: httpx.Client, channel: str, priority: str
) -> None:
    metadata = {"orderId": "12345", "nested": {"list": [1, 2.5, None, True]}, "price": "$5"}
    notification_id = post(api, channel, priority=priority, metadata=metadata)
    found = await sent(api, notification_id)
    assert found["attempts"] == 1
    assert found["maxAttempts"] == 3
    assert found["metadata"] == metadata
    assert found["recipient"] == RECIPIENTS[channel]
    assert found["error"] is None
    assert found["failedAt"] is None
    assert found["createdAt"] <= found["lastAttemptAt"] <= found["sentAt"] <= found["updatedAt"]


async def test_an_accepted_notification_can_be_asked_for_at_once(api: httpx.Client) -> None:
    for _ in range(20):
        assert get(api, post(api, "push"))["status"] in {"queued", "processing", "sent"}


async def test_the_timeline_tells_the_whole_story_in_order(api: httpx.Client) -> None:
    notification_id = post(api, "sms")
    await sent(api, notification_id)
    events = api.get(f"/api/notifications/{notification_id}/events").json()["data"]["events"]
    assert [(event["type"], event["attempt"]) for event in events] == [
        ("NotificationRequested", 0),
        ("NotificationDispatched", 1),
        ("DeliveryStarted", 1),
        ("NotificationSent", 1),
    ]


async def test_a_large_e_mail_is_delivered_and_shown_whole_and_travels_small(api: httpx.Client, system: Any) -> None:
    message, metadata = "Dear reader, " + "ä" * 30_000, {"orderId": "12345"}
    async with connected(system.broker_url, "test") as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(routing.EVENTS_EXCHANGE, "notification.#")

        notification_id = post(api, "email", message=message, subject="A long letter", metadata=metadata)
        found = await sent(api, notification_id)

        bodies = []
        while (seen := await queue.get(no_ack=True, fail=False)) is not None:
            bodies.append(seen.body)
    assert (found["message"], found["subject"], found["metadata"]) == (message, "A long letter", metadata)
    calls = [json.loads(line) for line in system.calls_file.read_text().splitlines()]
    delivered = [call["messageBytes"] for call in calls if call["notificationId"] == notification_id]
    assert delivered == [len(message.encode())]
    assert len([body for body in bodies if notification_id.encode() in body]) == 4
    assert max(len(body) for body in bodies) < 400


async def test_a_list_can_be_filtered_and_paged(api: httpx.Client) -> None:
    ids = [post(api, "push") for _ in range(5)]
    for notification_id in ids:
        await sent(api, notification_id)
    page = api.get("/api/notifications", params={"status": "sent", "channel": "push", "page": 1, "limit": 3}).json()
    listed = page["data"]["notifications"]
    assert len(listed) == 3
    assert {item["channel"] for item in listed} == {"push"}
    assert {item["status"] for item in listed} == {"sent"}
    assert [item["createdAt"] for item in listed] == sorted((item["createdAt"] for item in listed), reverse=True)
    pagination = page["data"]["pagination"]
    assert pagination["page"] == 1
    assert pagination["limit"] == 3
    assert pagination["total"] >= 5
    assert pagination["totalPages"] == -(-pagination["total"] // 3)


async def test_each_of_hundreds_is_sent_and_none_twice(api: httpx.Client, system: Any) -> None:
    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(lambda number: post(api, CHANNELS[number % len(CHANNELS)]), range(300)))
    assert len(set(ids)) == 300
    for notification_id in ids:
        await sent(api, notification_id)
    calls = [json.loads(line) for line in system.calls_file.read_text().splitlines()]
    ours = [call["notificationId"] for call in calls if call["notificationId"] in set(ids)]
    assert sorted(ours) == sorted(ids)


def test_every_process_says_that_it_is_ready_and_shows_its_figures(system: Any) -> None:
    assert set(system.admin_urls) == {
        "ingest-api",
        "dispatcher",
        *map(routing.sender_name, CHANNELS),
        "status-projector",
        "status-query",
    }
    for url in system.admin_urls.values():
        assert httpx.get(f"{url}/health/live").json() == {"live": True}
        assert httpx.get(f"{url}/health/ready").json() == {"ready": True, "reasons": []}
        assert "# TYPE" in httpx.get(f"{url}/metrics").text


async def test_no_log_holds_a_message_or_an_address(api: httpx.Client, system: Any) -> None:
    secret, address = "the-secret-word-of-this-message", "nobody.else.has.this@example.com"
    answer = api.post("/api/notifications", json={"recipient": address, "message": secret, "channel": "email"})
    await sent(api, answer.json()["data"]["id"])
    for log in system.folder.glob("*.log"):
        text = log.read_text()
        assert secret not in text
        assert address not in text
