"""A recovery brings the model up to the store and sends again what is missing, on a real broker and database."""

from typing import Any

import pytest
from status_projector.model.read_model import ReadModel
from status_projector.recovery.checker import Checker
from status_projector.recovery.missing_events import ATTEMPT, REQUEST, RETRY
from status_projector.recovery.recover import Recovered, Recovery, require_queues
from status_projector.store.event_store import EventStore
from wavecom_common.events import routing, types
from wavecom_common.kernel.errors import Refused
from wavecom_common.kernel.ids import first_id_of
from wavecom_common.messaging.connection import connected
from wavecom_common.testing.builders import NOW_MS, a_request
from wavecom_proto.v1.events_pb2 import Event

pytestmark = pytest.mark.connected

SENDER = routing.sender_queue("email", "medium")
WAIT = routing.retry_name(1000)


async def recover(bench: Any, *, after: str | None = None, **options: Any) -> Recovered:
    options = {"per_second": 1000, **options}
    recovery = Recovery(bench.database, bench.publisher, delays_ms=[1000], max_events=100, clock=bench.clock, **options)
    return await recovery.run(after)


def retried(request: Event, delay_ms: int) -> list[Event]:
    attempt = types.dispatched(request, attempt=1, now_ms=NOW_MS)
    return [request, attempt, types.retry_scheduled(attempt, error="busy", delay_ms=delay_ms, now_ms=NOW_MS)]


async def test_everything_open_is_sent_again_at_once_and_what_waits_waits_again(bench: Any) -> None:
    requests = [a_request() for _ in range(700)]
    ordered = a_request()
    order = types.dispatched(ordered, attempt=1, now_ms=NOW_MS)
    soon, late = retried(a_request(), 0), retried(a_request(), 900)
    done = a_request()
    end = types.failed(done, error="no", reason=types.UNROUTABLE, now_ms=NOW_MS)
    await bench.project([*requests, ordered, order, *soon, *late, done, end])

    recovered = await recover(bench)

    assert recovered.sent == {REQUEST: 700, ATTEMPT: 1, RETRY: 2}
    assert (recovered.notifications, recovered.repaired, recovered.lost) == (704, 0, [])
    assert set(await bench.waiting()) <= {routing.DISPATCHER_QUEUE, SENDER, WAIT}
    again = await bench.taken_from(routing.DISPATCHER_QUEUE)
    assert {event.event_id for event in again} == {request.event_id for request in requests}
    sent = {event.event_id: event for event in await bench.taken_from(SENDER)}
    waiting = {event.event_id: event for event in await bench.taken_from(WAIT)}
    assert sent[order.event_id] == order
    assert f"{late[0].notification_id}:2:{types.DISPATCHED}" in {**sent, **waiting}
    # At a rate: its clock went on by the seconds it has to take.
    assert bench.clock.ms >= NOW_MS + 700


async def test_the_model_is_brought_up_to_what_only_the_store_has(bench: Any) -> None:
    unknown, behind = a_request(), a_request()
    await bench.project([behind, a_request()])
    end = types.failed(behind, error="no", reason=types.UNROUTABLE, now_ms=NOW_MS)
    await EventStore(bench.database).append([unknown, end])

    recovered = await recover(bench)

    assert (recovered.repaired, recovered.sent) == (2, {REQUEST: 2})
    report = await Checker(EventStore(bench.database), ReadModel(bench.database), settle_s=0).run()
    assert (report.differing, report.open) == (0, 2)


async def test_a_dry_run_tells_the_same_and_does_nothing(bench: Any) -> None:
    lost = types.dispatched(a_request(), attempt=1, now_ms=NOW_MS)
    await bench.project([a_request()])
    await EventStore(bench.database).append([a_request(), lost])

    dry = await recover(bench, dry_run=True, give_up=True)

    assert await bench.waiting() == {}
    assert (dry.sent, dry.repaired, dry.lost) == ({REQUEST: 2}, 2, [lost.notification_id])
    assert await recover(bench, give_up=True) == dry


async def test_those_without_a_request_are_ended_only_when_one_wants_it(bench: Any) -> None:
    lost = types.dispatched(a_request(), attempt=1, now_ms=NOW_MS)
    await bench.project([lost])

    assert (await recover(bench)).lost == [lost.notification_id]
    assert await bench.waiting() == {}
    await recover(bench, give_up=True)

    [end] = await bench.taken_from(routing.PROJECTOR_QUEUE)
    assert (end.type, end.notification_id, end.failed.reason) == (types.FAILED, lost.notification_id, types.LOST)


async def test_it_can_be_bound_to_what_is_younger(bench: Any) -> None:
    old, young = a_request(now_ms=NOW_MS - 10_000), a_request(now_ms=NOW_MS)
    await bench.project([old, young])

    await recover(bench, after=first_id_of(NOW_MS))

    assert await bench.taken_from(routing.DISPATCHER_QUEUE) == [young]


async def test_a_missing_queue_is_named_with_the_command_that_declares_it(bench: Any) -> None:
    await require_queues(bench.url, [1000])
    async with connected(bench.url, "test") as connection:
        await (await connection.channel()).queue_delete(SENDER)

    with pytest.raises(Refused, match=f"queue {SENDER} is missing: run `wavecom topology apply` first"):
        await require_queues(bench.url, [1000])
