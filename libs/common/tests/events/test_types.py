import pytest
from wavecom_common.events import routing, types
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_proto.v1.events_pb2 import (
    Content,
    Event,
    Failed,
    OutcomeUnknown,
    RetryScheduled,
    Sent,
    Started,
)


def test_the_same_fact_told_twice_has_one_id() -> None:
    dispatch = a_dispatch(attempt=2)
    first = types.sent(dispatch, provider="p", provider_message_id="1", now_ms=1)
    second = types.sent(dispatch, provider="p", provider_message_id="2", now_ms=2)
    assert first.event_id == second.event_id == f"{dispatch.notification_id}:2:NotificationSent"


def test_what_follows_keeps_who_it_is_about_and_where_it_came_from() -> None:
    request = a_request(channel="sms", priority="high")
    request.traceparent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    request.tracestate = "vendor=1"
    follows = types.dispatched(request, attempt=1, now_ms=5)
    assert follows.content == request.content
    for field in ("notification_id", "tenant", "channel", "priority", "traceparent", "tracestate", "requested_at_ms"):
        assert getattr(follows, field) == getattr(request, field)


def test_every_event_type_has_a_routing_key_of_the_plan() -> None:
    dispatch = a_dispatch()
    keys = {
        routing.routing_key(event)
        for event in (
            a_request(),
            dispatch,
            types.started(dispatch, provider="p", now_ms=1),
            types.sent(dispatch, provider="p", provider_message_id="", now_ms=1),
            types.retry_scheduled(dispatch, error="e", delay_ms=1, now_ms=1),
            types.failed(dispatch, error="e", reason=types.PERMANENT, now_ms=1),
            types.outcome_unknown(dispatch, action="resend", now_ms=1),
        )
    }
    assert keys == {
        "notification.requested",
        "notification.dispatched.email.medium",
        "notification.started.email",
        "notification.sent.email",
        "notification.retrying.email",
        "notification.failed.email",
        "notification.unknown.email",
    }


def test_a_retry_queue_is_named_by_its_delay() -> None:
    assert [routing.retry_name(ms) for ms in (5000, 10_000, 250)] == [
        "wavecom.retry.5s",
        "wavecom.retry.10s",
        "wavecom.retry.250ms",
    ]


def test_a_request_says_what_was_asked_for_by_whom_and_when() -> None:
    content = Content(recipient="ada@example.com", message="hello")
    made = types.requested(
        notification_id="n",
        tenant="t",
        channel="sms",
        priority="high",
        content=content,
        now_ms=7,
        traceparent="trace",
        tracestate="state",
    )
    assert made == Event(
        event_id="n:0:NotificationRequested",
        type="NotificationRequested",
        notification_id="n",
        tenant="t",
        channel="sms",
        priority="high",
        occurred_at_ms=7,
        requested_at_ms=7,
        traceparent="trace",
        tracestate="state",
        content=content,
    )


def cause() -> Event:
    """An order of attempt 2 under the dedup key of attempt 1."""
    return types.dispatched(a_request(channel="push", now_ms=3), attempt=2, now_ms=4, dedup_key="first")


def like(cause: Event, event_type: str, **more: object) -> Event:
    """What every event that follows has, and more."""
    return Event(
        event_id=f"{cause.notification_id}:2:{event_type}",
        type=event_type,
        notification_id=cause.notification_id,
        tenant="default",
        channel="push",
        priority="medium",
        attempt=2,
        occurred_at_ms=9,
        requested_at_ms=3,
        **more,
    )  # type: ignore[arg-type]


def test_each_event_says_what_happened_to_its_attempt() -> None:
    order = cause()
    assert order.dedup_key == "first"
    started = types.started(order, provider="p", now_ms=9)
    # An attempt whose start alone is stored is repeated under its key.
    assert started == like(order, "DeliveryStarted", dedup_key="first", started=Started(provider="p"))
    sent = types.sent(order, provider="p", provider_message_id="x", now_ms=9)
    assert sent == like(order, "NotificationSent", sent=Sent(provider="p", provider_message_id="x"))
    failed = types.failed(order, error="why", reason="gone", now_ms=9)
    assert failed == like(order, "NotificationFailed", failed=Failed(error="why", reason="gone"))
    unknown = types.outcome_unknown(order, action="fail", now_ms=9)
    assert unknown == like(order, "DeliveryOutcomeUnknown", outcome_unknown=OutcomeUnknown(action="fail"))
    retry = RetryScheduled(error="why", next_attempt=3, delay_ms=5, dedup_key="key")
    scheduled = types.retry_scheduled(order, error="why", delay_ms=5, now_ms=9, dedup_key="key")
    assert scheduled == like(order, "RetryScheduled", retry_scheduled=retry)
    assert types.retry_scheduled(order, error="why", delay_ms=5, now_ms=9).retry_scheduled.dedup_key == ""


def test_the_types_that_end_a_notification_and_those_that_are_work_are_known() -> None:
    assert {"NotificationSent", "NotificationFailed"} == types.TERMINAL_TYPES
    assert {"NotificationRequested", "NotificationDispatched"} == types.WORK_TYPES
    assert set(types.EVENT_TYPES) > types.TERMINAL_TYPES | types.WORK_TYPES


def test_a_request_is_published_once_more_for_the_dispatcher_and_nothing_else_is() -> None:
    assert routing.and_then("notification.requested") == "queue.dispatcher.requested"
    assert routing.and_then("notification.dispatched.email.high") is None


def test_what_is_no_event_of_ours_has_no_routing_key() -> None:
    event = a_request()
    event.type = "SomethingNew"
    with pytest.raises(KeyError):
        routing.routing_key(event)


def test_queues_are_named_by_what_reads_them() -> None:
    assert routing.sender_queue("sms", "low") == "sms-sender.low"
    assert routing.direct_key("a.b") == "queue.a.b"
    assert routing.dead_queue("a.b") == "a.b.dead"
