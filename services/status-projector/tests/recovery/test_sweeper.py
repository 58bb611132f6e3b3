"""The sweeper on a real broker and database: it sends again what is missing, and only that."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from aio_pika import Message
from status_projector.model.live_model import LiveModel
from status_projector.recovery import sweeper as sweeper_module
from status_projector.recovery.missing_events import ATTEMPT, REQUEST, RETRY
from status_projector.recovery.resender import Resender
from status_projector.recovery.sweeper import REPAIRED, Limits, Sweeper
from status_projector.store.event_store import EventStore
from status_projector.store.sweeps import Sweeps
from wavecom_common.events import routing, types
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import connected
from wavecom_common.storage import names
from wavecom_common.storage.driver import DatetimeMS, ObjectId
from wavecom_common.storage.held_work import HeldWork
from wavecom_common.testing.builders import NOW_MS, a_request
from wavecom_common.testing.waiting import eventually

pytestmark = pytest.mark.connected

AFTER_MS = 300_000
SENDER = routing.sender_queue("email", "medium")


def a_sweeper(
    bench: Any, *, most: int = 500, most_waiting: int = 100, requests_only: bool = False, interval_s: float = 60
) -> Sweeper:
    return Sweeper(
        bench.url,
        EventStore(bench.database),
        LiveModel(bench.database),
        Sweeps(bench.database),
        HeldWork(bench.database),
        Resender(bench.publisher, delays_ms=[1000], max_events=100),
        Limits(
            after_s=AFTER_MS / 1000,
            interval_s=interval_s,
            most=most,
            most_waiting=most_waiting,
            requests_only=requests_only,
        ),
        clock=bench.clock,
    )


@pytest.fixture(autouse=True)
def later(bench: Any) -> None:
    bench.clock.ms += AFTER_MS + 60_000


async def test_each_kind_is_sent_again_to_the_one_queue_that_has_to_see_it(bench: Any) -> None:
    requested, ordered, retried = a_request(message="r"), a_request(message="o"), a_request(message="s")
    order = types.dispatched(ordered, attempt=1, now_ms=NOW_MS)
    failed = types.dispatched(retried, attempt=1, now_ms=NOW_MS)
    schedule = types.retry_scheduled(failed, error="busy", delay_ms=5_000, now_ms=NOW_MS)
    await bench.project([requested, ordered, order, retried, failed, schedule])
    sweeper = a_sweeper(bench)

    assert await sweeper.sweep() == {}  # found once
    assert await sweeper.sweep() == {REQUEST: 1, ATTEMPT: 1, RETRY: 1}

    assert set(await bench.waiting()) == {routing.DISPATCHER_QUEUE, SENDER}
    assert await bench.taken_from(routing.DISPATCHER_QUEUE) == [requested]
    again = types.dispatched(retried, attempt=2, now_ms=NOW_MS + 5_000)
    assert sorted(await bench.taken_from(SENDER), key=lambda event: event.event_id) == sorted(
        [order, again], key=lambda event: event.event_id
    )


async def test_what_is_young_has_an_end_or_waits_for_its_retry_is_left_alone(bench: Any) -> None:
    young = a_request(now_ms=bench.clock.ms - 1000)
    done = a_request()
    sent = types.sent(
        types.dispatched(done, attempt=1, now_ms=NOW_MS), provider="simulated", provider_message_id="", now_ms=NOW_MS
    )
    waits = a_request()
    schedule = types.retry_scheduled(
        types.dispatched(waits, attempt=1, now_ms=NOW_MS), error="busy", delay_ms=100_000, now_ms=NOW_MS
    )
    await bench.project([young, done, sent, waits, schedule])
    sweeper = a_sweeper(bench)

    assert [await sweeper.sweep() for _ in range(3)] == [{}, {}, {}]

    assert await bench.waiting() == {}


async def test_a_backlog_is_not_multiplied(bench: Any) -> None:
    stuck = [a_request(), a_request(channel="sms")]
    orders = [types.dispatched(request, attempt=1, now_ms=NOW_MS) for request in stuck]
    await bench.project([*stuck, *orders, a_request()])
    backlog = bench.publisher.message([a_request()])
    for _ in range(3):
        await bench.publisher.publish_message(routing.EVENTS_EXCHANGE, routing.direct_key(SENDER), backlog)
    sweeper = a_sweeper(bench, most_waiting=2)

    swept = [await sweeper.sweep() for _ in range(2)]

    assert swept[1] == {REQUEST: 1, ATTEMPT: 1}
    assert await bench.taken_from(routing.sender_queue("sms", "medium")) == [orders[1]]
    assert (await bench.waiting())[SENDER] == 3


async def a_stuck_order(bench: Any) -> None:
    stuck = a_request()
    await bench.project([stuck, types.dispatched(stuck, attempt=1, now_ms=NOW_MS)])


async def test_one_look_that_shows_an_empty_queue_sends_nothing_into_a_full_one(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_stuck_order(bench)
    waiting = iter([3, 0, 3, 0, 3])

    async def depths(_: str, queues: Sequence[str]) -> dict[str, int]:
        return dict.fromkeys(queues, 0) | {SENDER: next(waiting)}

    monkeypatch.setattr(sweeper_module, "depths", depths)
    sweeper = a_sweeper(bench, most_waiting=2)

    assert [await sweeper.sweep() for _ in range(5)] == [{}] * 5


async def test_a_backlog_that_a_migration_keeps_beside_the_queue_is_not_multiplied(bench: Any) -> None:
    await a_stuck_order(bench)
    second = topology.migrating_name(SENDER)
    [planned] = [queue for queue in topology.plan([1000]).queues if queue.name == SENDER]
    async with connected(bench.url, "test") as connection:
        await topology.declare(connection, planned, name=second)
        channel = await connection.channel()
        for _ in range(3):
            await channel.default_exchange.publish(Message(b""), second)
    sweeper = a_sweeper(bench, most_waiting=2)

    assert [await sweeper.sweep() for _ in range(3)] == [{}] * 3


async def test_nothing_is_done_while_the_projector_is_behind(bench: Any) -> None:
    await bench.project([a_request()])
    message = bench.publisher.message([a_request()])
    key = routing.direct_key(routing.PROJECTOR_QUEUE)
    await bench.publisher.publish_message(routing.EVENTS_EXCHANGE, key, message)
    sweeper = a_sweeper(bench, most_waiting=0)

    assert [await sweeper.sweep() for _ in range(3)] == [{}, {}, {}]

    await bench.taken_from(routing.PROJECTOR_QUEUE)
    assert [await sweeper.sweep() for _ in range(2)] == [{}, {REQUEST: 1}]


async def test_copies_share_the_work_and_wait_longer_each_time(bench: Any) -> None:
    await bench.project([a_request() for _ in range(40)])
    # By its clock these claims are years old: the database's own would forget them in the middle of the test.
    await bench.database.collection(names.SWEEPS).drop_indexes()
    sweepers = [a_sweeper(bench) for _ in range(3)]

    async def sweep() -> int:
        return sum([swept.get(REQUEST, 0) for swept in await asyncio.gather(*[one.sweep() for one in sweepers])])

    assert [await sweep() for _ in range(3)] == [0, 40, 0]
    assert len(await bench.taken_from(routing.DISPATCHER_QUEUE)) == 40
    bench.clock.ms += AFTER_MS
    assert [await sweep() for _ in range(2)] == [40, 0]
    bench.clock.ms += AFTER_MS
    assert await sweep() == 0
    bench.clock.ms += AFTER_MS
    assert await sweep() == 40


async def test_a_sweep_is_bounded_and_the_next_one_goes_on(bench: Any) -> None:
    await bench.project([a_request() for _ in range(25)])
    sweeper = a_sweeper(bench, most=10)

    swept = [(await sweeper.sweep()).get(REQUEST, 0) for _ in range(5)]

    assert swept == [0, 10, 10, 5, 0]


async def test_a_model_behind_its_store_is_brought_up_to_it(bench: Any) -> None:
    request = a_request()
    await bench.project([request])
    order = types.dispatched(request, attempt=1, now_ms=NOW_MS)
    await EventStore(bench.database).append(
        [types.sent(order, provider="simulated", provider_message_id="", now_ms=NOW_MS + 9)]
    )
    sweeper = a_sweeper(bench)

    assert [await sweeper.sweep() for _ in range(3)] == [{}, {REPAIRED: 1}, {}]

    facts = await LiveModel(bench.database).get("default", request.notification_id)
    assert facts is not None
    assert facts.head.status == "sent"
    assert await bench.waiting() == {}


async def test_a_notification_the_model_refuses_keeps_no_other_from_being_brought_up(bench: Any) -> None:
    requests = [a_request() for _ in range(3)]
    await bench.project(requests)
    orders = [types.dispatched(request, attempt=1, now_ms=NOW_MS) for request in requests]
    await EventStore(bench.database).append(
        [types.sent(order, provider="simulated", provider_message_id="", now_ms=NOW_MS + 9) for order in orders]
    )
    refused = {"$nor": [{"_id": ObjectId(requests[1].notification_id), "head.status": "sent"}]}
    model = bench.database.collection(names.NOTIFICATIONS)
    await model.database.command("collMod", model.name, validator=refused)
    sweeper = a_sweeper(bench)

    assert [await sweeper.sweep() for _ in range(3)] == [{}, {REPAIRED: 2}, {}]


async def test_a_sweep_for_requests_finds_requests_only_and_leaves_them_alone_while_their_queue_holds_one(
    bench: Any,
) -> None:
    lost, ordered = a_request(), a_request()
    await bench.project([lost, ordered, types.dispatched(ordered, attempt=1, now_ms=NOW_MS)])
    message = bench.publisher.message([a_request()])
    key = routing.direct_key(routing.DISPATCHER_QUEUE)
    await bench.publisher.publish_message(routing.EVENTS_EXCHANGE, key, message)
    sweeper = a_sweeper(bench, most_waiting=0, requests_only=True)

    assert [await sweeper.sweep() for _ in range(3)] == [{}, {}, {}]

    await bench.taken_from(routing.DISPATCHER_QUEUE)
    assert [await sweeper.sweep() for _ in range(3)] == [{}, {REQUEST: 1}, {}]
    assert await bench.taken_from(routing.DISPATCHER_QUEUE) == [lost]
    assert await bench.waiting() == {}


async def test_what_was_seen_before_the_broker_was_away_counts_for_nothing(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.project([a_request()])
    sweeper = a_sweeper(bench, interval_s=0.01)
    sweeps = iter([Unavailable("the broker cannot be reached"), None, None])
    swept: list[Mapping[str, int]] = []
    real = Sweeper.sweep

    async def sweep(self: Sweeper) -> Mapping[str, int]:
        if (error := next(sweeps, None)) is not None:
            raise error
        swept.append(await real(self))
        return swept[-1]

    await real(sweeper)
    monkeypatch.setattr(Sweeper, "sweep", sweep)
    await sweeper.start()
    await eventually(lambda: len(swept) >= 2)
    await sweeper.close()

    assert swept[:2] == [{}, {REQUEST: 1}]


async def test_requests_are_found_by_an_index_of_their_own_whatever_waits_for_a_sender(bench: Any) -> None:
    waiting = [a_request() for _ in range(300)]
    orders = [types.dispatched(request, attempt=1, now_ms=NOW_MS) for request in waiting]
    await bench.project([*waiting, *orders, a_request()])

    query = {"head.final": 0, "dueAt": {"$lt": DatetimeMS(bench.clock.ms)}, "$and": [{"head.attempt": 0}]}
    found = bench.database.collection("notifications").find(query, sort=[("dueAt", 1), ("_id", 1)], limit=1)

    assert (await found.explain())["executionStats"]["totalDocsExamined"] == 1


async def test_stuck_notifications_are_found_by_an_index(bench: Any) -> None:
    done = [a_request() for _ in range(300)]
    sent = [
        types.sent(
            types.dispatched(request, attempt=1, now_ms=NOW_MS),
            provider="simulated",
            provider_message_id="",
            now_ms=NOW_MS,
        )
        for request in done
    ]
    await bench.project([*done, *sent, a_request(), a_request()])

    explained = (
        await bench.database.collection("notifications")
        .find({"head.final": 0, "dueAt": {"$lt": bench.clock.ms}}, sort=[("dueAt", 1), ("_id", 1)])
        .explain()
    )

    assert explained["queryPlanner"]["winningPlan"]["inputStage"]["indexName"] == "dueAt_1__id_1"
