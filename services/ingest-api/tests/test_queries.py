"""The GETs, in the published envelopes."""

import pytest
from ingest_api import cursors
from ingest_api.cursors import to_cursor
from ingest_api.routes import NOTIFICATIONS
from wavecom_common.events import types
from wavecom_common.events.channels import CHANNELS
from wavecom_common.kernel.errors import Unavailable
from wavecom_proto.v1.events_pb2 import Event
from wavecom_proto.v1.status_pb2 import Notification, Place

ID = "675a1b2c3d4e5f6071829304"
CREATED_MS = 1733913000000

PLACE = Place(created_at_ms=CREATED_MS, id=ID)
SENT = Notification(
    id=ID,
    tenant="default",
    recipient="user@example.com",
    message="Your order has been shipped!",
    channel="email",
    subject="Order Update",
    status="sent",
    attempts=1,
    max_attempts=3,
    last_attempt_at_ms=CREATED_MS + 5_000,
    sent_at_ms=CREATED_MS + 5_500,
    metadata_json='{"orderId":"12345"}',
    created_at_ms=CREATED_MS,
    updated_at_ms=CREATED_MS + 5_500,
    priority="medium",
)


async def test_a_notification_has_the_published_fields_and_its_priority(client, pipeline):
    pipeline.notifications[ID] = SENT

    answer = await client.get(f"{NOTIFICATIONS}/{ID}")

    assert answer.status_code == 200
    published = {
        "status": "success",
        "data": {
            "id": ID,
            "recipient": "user@example.com",
            "message": "Your order has been shipped!",
            "channel": "email",
            "subject": "Order Update",
            "status": "sent",
            "attempts": 1,
            "maxAttempts": 3,
            "lastAttemptAt": "2024-12-11T10:30:05.000Z",
            "sentAt": "2024-12-11T10:30:05.500Z",
            "failedAt": None,
            "error": None,
            "metadata": {"orderId": "12345"},
            "createdAt": "2024-12-11T10:30:00.000Z",
            "updatedAt": "2024-12-11T10:30:05.500Z",
            "priority": "medium",
        },
    }
    assert answer.json() == published
    # In the published order, too, with ours at the end.
    assert list(answer.json()["data"]) == list(published["data"])


async def test_what_is_not_there_is_null(client):
    created = (
        await client.post(NOTIFICATIONS, json={"recipient": "+2348012345678", "message": "x", "channel": "sms"})
    ).json()

    data = (await client.get(f"{NOTIFICATIONS}/{created['data']['id']}")).json()["data"]

    nothing = {name for name, value in data.items() if value is None}
    assert nothing == {"subject", "lastAttemptAt", "sentAt", "failedAt", "error", "metadata"}
    assert (data["status"], data["attempts"], data["maxAttempts"]) == ("queued", 0, 3)


@pytest.mark.parametrize(
    "notification_id",
    ["675a1b2c3d4e5f6g7h8i9j0k", ID, ID.upper(), "1", "..%2f", "%00", "a" * 3000, "null", "$where"],
)
@pytest.mark.parametrize("rest", ["", "/events"])
async def test_an_id_of_no_notification_is_not_found_whatever_its_form(client, notification_id, rest):
    answer = await client.get(f"{NOTIFICATIONS}/{notification_id}{rest}")

    assert answer.status_code == 404
    assert answer.json()["status"] == "error"


async def test_not_found_is_the_published_answer(client):
    answer = await client.get(f"{NOTIFICATIONS}/675a1b2c3d4e5f6g7h8i9j0k")

    assert answer.status_code == 404
    assert answer.json() == {"status": "error", "message": "Notification not found"}


async def test_a_page_has_the_published_fields(client, pipeline):
    pipeline.notifications = {f"{n:024x}": SENT for n in range(150)}

    answer = await client.get(NOTIFICATIONS)

    assert answer.status_code == 200
    data = answer.json()["data"]
    assert set(answer.json()) == {"status", "data"}
    published = {"total": 150, "page": 1, "limit": 20, "totalPages": 8}
    assert data["pagination"] == {**published, "totalIsCapped": False, "nextCursor": to_cursor(PLACE)}
    assert (
        data["notifications"]
        == [
            {
                "id": ID,
                "recipient": "user@example.com",
                "channel": "email",
                "status": "sent",
                "attempts": 1,
                "createdAt": "2024-12-11T10:30:00.000Z",
                "sentAt": "2024-12-11T10:30:05.500Z",
                "failedAt": None,
            }
        ]
        * 20
    )


async def test_an_empty_list_has_no_pages(client):
    answer = await client.get(NOTIFICATIONS)

    published = {"total": 0, "page": 1, "limit": 20, "totalPages": 0}
    assert answer.json() == {
        "status": "success",
        "data": {"notifications": [], "pagination": {**published, "totalIsCapped": False, "nextCursor": None}},
    }


async def test_cursors_lead_through_everything_while_new_notifications_arrive(client, pipeline):
    def add(number: int) -> None:
        notification = Notification(id=f"{number:024x}", status="sent", channel="sms", created_at_ms=CREATED_MS)
        pipeline.notifications[notification.id] = notification

    for number in range(25):
        add(number)
    pipeline.most_counted = 20
    seen, query = [], "limit=10"
    while query:
        data = (await client.get(f"{NOTIFICATIONS}?status=sent&{query}")).json()["data"]
        seen += [one["id"] for one in data["notifications"]]
        add(100 + len(seen))
        pagination = data["pagination"]
        assert (pagination["total"], pagination["totalPages"], pagination["totalIsCapped"]) == (20, 2, True)
        assert pagination["page"] == (1 if len(seen) == 10 else None)
        query = pagination["nextCursor"] and f"limit=10&cursor={pagination['nextCursor']}"

    assert seen == [f"{number:024x}" for number in reversed(range(25))]


def test_a_cursor_comes_back_as_the_place_it_stands_for():
    assert cursors.from_cursor(to_cursor(PLACE)) == PLACE


async def test_filters_and_paging_reach_the_query_service(client, pipeline):
    pipeline.notifications = {f"{n:024x}": SENT for n in range(3)}

    async def total(query: str) -> tuple[int, int]:
        data = (await client.get(f"{NOTIFICATIONS}?{query}")).json()["data"]
        return data["pagination"]["total"], len(data["notifications"])

    assert await total("status=sent&channel=email&page=2&limit=2") == (3, 1)
    assert await total("status=failed") == (0, 0)
    assert await total("channel=push") == (0, 0)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("status=done", "status must be one of: pending, queued, processing, sent, failed"),
        ("status=", "status must be one of: pending, queued, processing, sent, failed"),
        ("channel=fax", f"channel must be one of: {', '.join(CHANNELS)}"),
        ("page=0", "page must be at least 1"),
        ("page=-1", "page must be at least 1"),
        ("page=10001", "page must be at most 10000"),
        (f"page={'9' * 5000}", "page must be"),
        ("page=x", "page must be a whole number"),
        ("page=1.5", "page must be a whole number"),
        ("page=", "page must be a whole number"),
        ("page=101&limit=100", "page must be within the first 10,000 notifications: use cursor"),
        ("page=501", "page must be within the first 10,000 notifications: use cursor"),
        ("cursor=", "cursor must be the nextCursor of a page"),
        (f"cursor={'A' * 28}", "cursor must be the nextCursor of a page"),
        (f"cursor={to_cursor(PLACE)[:-1]}", "cursor must be the nextCursor of a page"),
        (f"cursor={to_cursor(PLACE)}%0A", "cursor must be the nextCursor of a page"),
        (f"cursor=AQ{'_' * 26}", "cursor must be the nextCursor of a page"),
        (f"cursor={to_cursor(PLACE)}&page=1", "cursor must not be given together with page"),
        ("limit=0", "limit must be at least 1"),
        ("limit=101", "limit must be at most 100"),
        ("limit=NaN", "limit must be a whole number"),
        ("status[$ne]=sent&limit=0", "limit must be at least 1"),
    ],
)
async def test_a_wrong_parameter_is_named(client, query, message):
    answer = await client.get(f"{NOTIFICATIONS}?{query}")

    assert answer.status_code == 400
    assert answer.json()["status"] == "error"
    assert answer.json()["message"].startswith(message)
    assert answer.json()["errors"][0]["field"] == message.split(" ")[0]


async def test_a_timeline_tells_what_each_event_has_to_tell(client, pipeline):
    requested = types.requested(
        notification_id=ID, tenant="default", channel="sms", priority="high", content={}, now_ms=CREATED_MS
    )
    first = types.dispatched(requested, attempt=1, now_ms=CREATED_MS + 1)
    second = types.dispatched(requested, attempt=2, now_ms=CREATED_MS + 6_000)
    pipeline.events = [
        requested,
        first,
        types.started(first, provider="simulated", now_ms=CREATED_MS + 2),
        types.retry_scheduled(first, error="busy", delay_ms=5_000, now_ms=CREATED_MS + 3),
        second,
        types.outcome_unknown(second, action="resend", now_ms=CREATED_MS + 6_001),
        types.sent(second, provider="simulated", provider_message_id="m-1", now_ms=CREATED_MS + 6_002),
        types.failed(second, error="no", reason="permanent", now_ms=CREATED_MS + 6_003),
        Event(event_id="x", type="FromTheFuture", notification_id=ID, attempt=2, occurred_at_ms=CREATED_MS),
    ]

    answer = await client.get(f"{NOTIFICATIONS}/{ID}/events")

    assert answer.status_code == 200
    assert answer.json()["data"]["id"] == ID
    events = answer.json()["data"]["events"]
    assert events[0] == {
        "id": f"{ID}:0:NotificationRequested",
        "type": "NotificationRequested",
        "attempt": 0,
        "occurredAt": "2024-12-11T10:30:00.000Z",
        "priority": "high",
    }
    common = {"id", "type", "attempt", "occurredAt"}
    assert [{name: event[name] for name in event.keys() - common} for event in events[1:]] == [
        {"priority": "high"},
        {"provider": "simulated"},
        {"error": "busy", "nextAttempt": 2, "delayMs": 5_000},
        {"priority": "high"},
        {"action": "resend"},
        {"provider": "simulated", "providerMessageId": "m-1"},
        {"error": "no", "reason": "permanent"},
        {},
    ]


@pytest.mark.parametrize("path", [NOTIFICATIONS, f"{NOTIFICATIONS}/{ID}", f"{NOTIFICATIONS}/{ID}/events"])
async def test_without_the_query_service_the_client_is_told_when_to_come_back(client, pipeline, path):
    pipeline.failure = Unavailable("x")

    answer = await client.get(path)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json() == {"status": "error", "message": "Notifications cannot be looked up now; try again"}


async def test_a_status_of_a_later_version_is_passed_on(client, pipeline):
    pipeline.notifications[ID] = Notification(id=ID, status="cancelled", channel="fax", created_at_ms=CREATED_MS)

    answer = await client.get(f"{NOTIFICATIONS}/{ID}")

    assert answer.status_code == 200
    assert answer.json()["data"]["status"] == "cancelled"


async def test_health_is_the_published_answer(client):
    answer = await client.get("/health")

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "success",
        "message": "WaveCom Notification System is running",
        "timestamp": "2024-12-11T10:30:00.000Z",
    }
