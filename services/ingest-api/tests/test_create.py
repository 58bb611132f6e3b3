"""`POST /api/notifications`: what is accepted, and what acceptance means."""

import asyncio

import httpx
import pytest
from ingest_api.app import create_app
from ingest_api.keyed import IdempotentRequests
from ingest_api.routes import NOTIFICATIONS
from prometheus_client import REGISTRY
from wavecom_common.channels.registry import declared
from wavecom_common.events.channels import CHANNELS
from wavecom_common.events.payloads import Payload
from wavecom_common.kernel.errors import Overloaded, Unavailable, Unroutable
from wavecom_common.kernel.ids import id_time_ms, is_notification_id

EMAIL = {"recipient": "user@example.com", "message": "Your order has been shipped!", "channel": "email"}
VALID = {
    name: {"recipient": channel.sandbox(1), "message": "Your code is 1234", "channel": name}
    for name, channel in declared().items()
}


async def test_the_answer_is_the_published_envelope_and_nothing_else(client: httpx.AsyncClient):
    answer = await client.post(
        NOTIFICATIONS, json={**EMAIL, "subject": "Order Update", "metadata": {"orderId": "12345"}}
    )

    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    notification_id = answer.json()["data"]["id"]
    assert answer.json() == {
        "status": "success",
        "message": "Notification created and queued for processing",
        "data": {
            "id": notification_id,
            "recipient": "user@example.com",
            "channel": "email",
            "status": "queued",
            "createdAt": "2024-12-11T10:30:00.000Z",
        },
    }
    assert is_notification_id(notification_id)
    assert answer.headers["location"] == f"{NOTIFICATIONS}/{notification_id}"


async def test_the_event_holds_all_the_client_said(client, pipeline, clock):
    await client.post(
        NOTIFICATIONS,
        json={
            **EMAIL,
            "subject": "Grüße 🎉",
            "metadata": {"orderId": "12345", "tags": [1, 2.5, None, True]},
            "priority": "high",
            "maxAttempts": 7,
            "onUnknown": "fail",
        },
    )

    [event] = pipeline.events
    assert event.type == "NotificationRequested"
    assert (event.channel, event.priority, event.tenant, event.attempt) == ("email", "high", "default", 0)
    assert event.occurred_at_ms == event.requested_at_ms == clock.now_ms()
    assert id_time_ms(event.notification_id) == clock.now_ms()
    assert event.content.recipient == "user@example.com"
    assert event.content.message == "Your order has been shipped!"
    assert event.content.subject == "Grüße 🎉"
    assert event.content.metadata_json == '{"orderId":"12345","tags":[1,2.5,null,true]}'
    assert (event.content.max_attempts, event.content.on_unknown) == (7, "fail")


@pytest.mark.parametrize("channel", CHANNELS)
async def test_every_channel_needs_only_recipient_message_and_channel(client, pipeline, channel):
    answer = await client.post(NOTIFICATIONS, json=VALID[channel])

    assert answer.status_code == 201
    [event] = pipeline.events
    assert (event.channel, event.priority) == (channel, "medium")
    assert (event.content.max_attempts, event.content.on_unknown) == (3, "resend")
    assert not event.content.HasField("subject")
    assert event.content.metadata_json == ""


@pytest.mark.parametrize("channel", CHANNELS)
async def test_an_optional_field_that_is_null_counts_as_left_out(client, pipeline, channel):
    nothing = dict.fromkeys(["subject", "metadata", "priority", "maxAttempts", "onUnknown"])

    assert (await client.post(NOTIFICATIONS, json=VALID[channel] | nothing)).status_code == 201
    assert pipeline.events[0].priority == "medium"


async def test_every_notification_has_an_id_of_its_own(client, pipeline):
    for _ in range(50):
        await client.post(NOTIFICATIONS, json=EMAIL)

    assert len({event.notification_id for event in pipeline.events}) == 50


async def test_a_large_payload_is_stored_once_and_its_events_only_name_it(client, pipeline, payloads):
    large = {**EMAIL, "subject": "Order Update", "message": "x" * 990, "metadata": {"orderId": "12345"}}

    answers = [await client.post(NOTIFICATIONS, json={**large, "recipient": f"{name}@example.com"}) for name in "ab"]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert list(payloads.stored.values()) == [Payload("x" * 990, "Order Update", '{"orderId":"12345"}')]
    for event, recipient in zip(pipeline.events, ("a@example.com", "b@example.com"), strict=True):
        assert event.content.payload_id in payloads.stored
        assert (event.content.recipient, event.content.max_attempts) == (recipient, 3)
        assert event.ByteSize() < 500


async def test_tenants_do_not_share_what_is_stored_for_them(
    make_acceptor, withdrawals, pipeline, payloads, keys, clock, make_client
):
    for tenant in ("a", "b"):
        acceptor = make_acceptor(pipeline, tenant)
        app = create_app(
            acceptor, IdempotentRequests(acceptor, withdrawals, keys, clock), pipeline, clock, traced=False
        )
        async with make_client(app) as client:
            await client.post(NOTIFICATIONS, json={**EMAIL, "message": "x" * 2_000})

    assert len(payloads.stored) == len({event.content.payload_id for event in pipeline.events}) == 2


async def test_what_is_accepted_is_counted_by_channel_and_priority_and_what_is_refused_is_not(client, pipeline):
    def accepted():
        labels = {"channel": "push", "priority": "low"}
        return REGISTRY.get_sample_value("wavecom_notifications_accepted_total", labels) or 0

    before = accepted()
    await client.post(NOTIFICATIONS, json=VALID["push"] | {"priority": "low"})
    assert accepted() - before == 1
    batch = {"notifications": [VALID["push"] | {"priority": "low"}] * 3 + [VALID["push"] | {"priority": "high"}]}
    await client.post(f"{NOTIFICATIONS}/batch", json=batch)
    assert accepted() - before == 4
    pipeline.failure = Unavailable("the broker is away")
    await client.post(NOTIFICATIONS, json=VALID["push"] | {"priority": "low"})
    assert accepted() - before == 4


async def test_without_a_database_only_large_payloads_are_refused(client, pipeline, payloads):
    payloads.failure = Unavailable("x")

    large = await client.post(NOTIFICATIONS, json={**EMAIL, "message": "x" * 1001})
    small = await client.post(NOTIFICATIONS, json={**EMAIL, "message": "x" * 1000})

    assert (large.status_code, large.headers["retry-after"], small.status_code) == (503, "1", 201)
    assert large.json()["message"] == "A notification of this size cannot be stored now; try again"
    assert [event.content.message for event in pipeline.events] == ["x" * 1000]


async def test_nothing_is_answered_before_the_event_is_confirmed(clock, make_keyed, make_acceptor, make_client):
    confirmed = asyncio.Event()
    reached = asyncio.Event()

    class SlowSink:
        async def publish(self, events, *, timeout_s):
            reached.set()
            await confirmed.wait()

    app = create_app(make_acceptor(SlowSink()), make_keyed(SlowSink()), None, clock, traced=False)
    async with make_client(app) as client:
        post = asyncio.create_task(client.post(NOTIFICATIONS, json=EMAIL))
        await reached.wait()
        done, _ = await asyncio.wait([post], timeout=0.05)
        assert not done

        confirmed.set()
        assert (await post).status_code == 201


@pytest.mark.parametrize(
    ("failure", "retry_after", "message"),
    [
        (Unavailable("x"), "1", "The notification could not be confirmed as accepted; try again"),
        (Overloaded("x"), "5", "The system is at its limit; try again later"),
        (Unroutable("x"), "5", "The system is not set up completely; try again later"),
    ],
)
async def test_what_is_not_confirmed_is_not_accepted(client, pipeline, failure, retry_after, message):
    pipeline.failure = failure

    answer = await client.post(NOTIFICATIONS, json=EMAIL)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == retry_after
    assert answer.json() == {"status": "error", "message": message}


async def test_a_defect_is_answered_in_the_envelope(client, pipeline):
    pipeline.failure = ZeroDivisionError("a secret")

    answer = await client.post(NOTIFICATIONS, json=EMAIL)

    assert answer.status_code == 500
    assert answer.json() == {"status": "error", "message": "Internal server error"}
