from wavecom_common.events import routing, types
from wavecom_common.testing.builders import a_dispatch, a_request


def test_the_same_fact_told_twice_has_one_id() -> None:
    dispatch = a_dispatch(attempt=2)
    first = types.sent(dispatch, provider="p", provider_message_id="1", now_ms=1)
    second = types.sent(dispatch, provider="p", provider_message_id="2", now_ms=2)
    assert first.event_id == second.event_id == f"{dispatch.notification_id}:2:NotificationSent"


def test_what_follows_keeps_who_it_is_about_and_where_it_came_from() -> None:
    request = a_request(channel="sms", priority="high")
    request.traceparent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    follows = types.dispatched(request, attempt=1, now_ms=5)
    assert follows.content == request.content
    for field in ("notification_id", "tenant", "channel", "priority", "traceparent", "requested_at_ms"):
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
