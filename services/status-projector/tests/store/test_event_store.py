"""Every event is stored once, as it was first told, and comes back as it went in."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from status_projector.store.event_store import EventStore
from wavecom_common.events import types
from wavecom_common.kernel.errors import Unstorable
from wavecom_common.kernel.ids import new_notification_id
from wavecom_common.storage import names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import DatetimeMS
from wavecom_common.testing.builders import NOW_MS, a_dispatch, a_request
from wavecom_proto.v1.events_pb2 import Content, Event

pytestmark = pytest.mark.connected

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_every_kind_of_event_comes_back_equal_but_for_repeated_content(database: Database) -> None:
    store, told = EventStore(database), _one_of_each()

    await store.append(told)

    back = {event.type: event for event in await _all(store.stream())}
    for event in told:
        if event.type == types.DISPATCHED:
            event.ClearField("content")
        assert back.pop(event.type) == event
    assert not back


async def test_a_dispatched_event_can_be_made_again_from_the_stored_request(database: Database) -> None:
    store, request = EventStore(database), a_request()
    await store.append([request])

    [stored] = await _all(store.stream())

    assert types.dispatched(stored, attempt=1, now_ms=NOW_MS) == types.dispatched(request, attempt=1, now_ms=NOW_MS)


async def test_an_operator_can_read_a_stored_event(database: Database) -> None:
    request = a_request(now_ms=NOW_MS)
    retry = types.retry_scheduled(a_dispatch(request=request), error="503", delay_ms=5_000, now_ms=NOW_MS + 1)

    await EventStore(database).append([request, retry])

    found = await _document(database, retry.event_id)
    assert isinstance(found.pop("recordedAt"), DatetimeMS)
    assert found == {
        "_id": f"{request.notification_id}:1:RetryScheduled",
        "nid": request.notification_id,
        "type": "RetryScheduled",
        "attempt": 1,
        "at": DatetimeMS(NOW_MS + 1),
        "requestedAt": DatetimeMS(NOW_MS),
        "tenant": "default",
        "channel": "email",
        "priority": "medium",
        "retryScheduled": {"error": "503", "nextAttempt": 2, "delayMs": 5_000},
    }


async def test_an_event_told_again_is_answered_with_what_is_stored(database: Database) -> None:
    store, request = EventStore(database), a_request()
    attempt = a_dispatch(request=request)
    first = types.started(attempt, provider="simulated", now_ms=NOW_MS + 1)
    again = types.started(attempt, provider="simulated", now_ms=NOW_MS + 900)
    await store.append([first])

    appended = await store.append([request, again])

    assert appended.events == [request, first]
    assert appended.duplicates == 1
    assert len(await _all(store.stream())) == 2


async def test_of_two_tellings_in_one_batch_the_first_one_counts(database: Database) -> None:
    attempt = a_dispatch()
    first = types.started(attempt, provider="simulated", now_ms=NOW_MS + 900)
    again = types.started(attempt, provider="simulated", now_ms=NOW_MS + 1)

    appended = await EventStore(database).append([first, again])

    assert appended.events == [first, first]


async def test_an_event_type_from_the_future_is_stored_as_far_as_it_is_known(database: Database) -> None:
    nid = new_notification_id(NOW_MS)
    future = Event(
        event_id=f"{nid}:1:NotificationOpened",
        type="NotificationOpened",
        notification_id=nid,
        tenant="default",
        attempt=1,
        occurred_at_ms=NOW_MS,
    )
    from_the_wire = Event.FromString(future.SerializeToString() + b"\xaa\x06\x03new")  # field 101
    store = EventStore(database)

    await store.append([from_the_wire])

    assert await store.timeline("default", nid) == [future]


async def test_a_field_from_the_future_in_a_stored_event_does_no_harm(database: Database) -> None:
    store, request = EventStore(database), a_request()
    await store.append([request])
    await database.collection(names.EVENTS).update_one(
        {"_id": request.event_id}, {"$set": {"colour": "blue", "content.font": "serif"}}
    )

    assert await _all(store.stream()) == [request]


async def test_a_timeline_is_in_order_without_content_and_its_tenants_own(database: Database) -> None:
    store, told = EventStore(database), _one_of_each()
    nid = told[0].notification_id
    await store.append(list(reversed(told)))

    timeline = await store.timeline("default", nid)

    assert [event.type for event in timeline] == [event.type for event in told]
    assert not any(event.HasField("content") for event in timeline)
    assert await store.timeline("another", nid) == []


async def test_a_walk_over_all_events_can_be_taken_up_again(database: Database) -> None:
    store = EventStore(database)
    requests = [a_request() for _ in range(7)]
    await store.append(requests)

    walked = await _all(store.stream(page=3))
    rest = await _all(store.stream(after=walked[4].event_id, page=3))

    assert walked == sorted(requests, key=lambda event: event.event_id)
    assert rest == walked[5:]


async def test_a_walk_over_notifications_goes_on_behind_the_one_it_is_given(database: Database) -> None:
    store = EventStore(database)
    requests = sorted([a_request() for _ in range(3)], key=lambda event: event.notification_id)
    await store.append(
        [event for request in requests for event in (request, types.dispatched(request, attempt=1, now_ms=1))]
    )

    ids = [request.notification_id for request in requests]
    assert [(one, len(events)) async for one, events in store.histories()] == [(one, 2) for one in ids]
    assert [one async for one, _ in store.histories(after=ids[0])] == ids[1:]


async def test_an_event_the_database_refuses_is_named_without_its_content(database: Database) -> None:
    request = a_request(message="the secret" * 2_000_000)

    with pytest.raises(Unstorable) as refusal:
        await EventStore(database).append([request])

    assert "secret" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def _one_of_each() -> list[Event]:
    """An event of each type, a millisecond apart."""
    content = Content(
        recipient="$user",
        message="$ 5 is due \0",
        subject="",
        metadata_json='{"b": 1,  "a": 1.0}',
        max_attempts=4_000_000_000,
        on_unknown="fail",
    )
    request = types.requested(
        notification_id=new_notification_id(NOW_MS),
        tenant="default",
        channel="email",
        priority="high",
        content=content,
        now_ms=NOW_MS,
        traceparent=TRACEPARENT,
        tracestate="vendor=1",
    )
    attempt = types.dispatched(request, attempt=1, now_ms=NOW_MS + 1)
    return [
        request,
        attempt,
        types.started(attempt, provider="smtp", now_ms=NOW_MS + 2),
        types.retry_scheduled(attempt, error="$error", delay_ms=2**40, now_ms=NOW_MS + 3),
        types.outcome_unknown(attempt, action="resend", now_ms=NOW_MS + 4),
        types.sent(attempt, provider="smtp", provider_message_id="<1@x>", now_ms=NOW_MS + 5),
        types.failed(attempt, error="", reason=types.EXHAUSTED, now_ms=NOW_MS + 6),
    ]


async def _all(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


async def _document(database: Database, event_id: str) -> dict[str, Any]:
    found = await database.collection(names.EVENTS).find_one({"_id": event_id})
    assert found is not None
    return found


async def test_the_events_of_a_notification_are_asked_for_by_the_key_that_keeps_them_together(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = a_request()
    await EventStore(database).append([request, a_dispatch(request=request), a_request()])
    asked: list[dict[str, Any]] = []
    collection = database.collection(names.EVENTS)
    find = type(collection).find

    def remember(self: Any, query: dict[str, Any], *more: Any, **options: Any) -> Any:
        asked.append(query)
        return find(self, query, *more, **options)

    monkeypatch.setattr(type(collection), "find", remember)
    timeline = await EventStore(database).timeline("default", request.notification_id)
    histories = await EventStore(database).histories_of([request.notification_id])

    assert [event.type for event in timeline] == [types.REQUESTED, types.DISPATCHED]
    assert len(histories[request.notification_id]) == 2
    [by_timeline, by_history] = asked
    assert by_timeline["nid"] == request.notification_id
    assert [one["nid"] for one in by_history["$or"]] == [request.notification_id]
    plan = (await find(collection, by_timeline).explain())["executionStats"]
    assert plan["totalDocsExamined"] == 2
