"""What a sweep looks at, takes, sends and counts, among twins of its stores and its queues."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from status_projector.model.read_model import Overdue
from status_projector.recovery import sweeper as module
from status_projector.recovery.missing_events import REQUEST, Order
from status_projector.recovery.sweeper import REPAIRED, Limits, Sweeper
from structlog.testing import capture_logs
from wavecom_common.events import routing, types
from wavecom_common.kernel.errors import Unavailable, Unstorable
from wavecom_common.testing.builders import a_request
from wavecom_proto.v1.events_pb2 import Event

AFTER_MS = 300_000
REQUESTED_MS = 1_000_000
NOW_MS = REQUESTED_MS + AFTER_MS + 60_000


class Clock:
    def now_ms(self) -> int:
        return NOW_MS

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


@dataclass
class World:
    """Everything a sweeper asks: what stands still, what waits in queues, and what it does about it."""

    stuck: list[Event] = field(default_factory=list)
    # Of those, the model is behind the store with these; and these it refuses.
    ended: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    waiting: dict[str, int] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    claims: list[tuple[list[str], int, int]] = field(default_factory=list)
    sent: list[Order] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)

    async def longest_overdue(self, before_ms: int, *, requests_only: bool = False) -> Overdue | None:
        self.asked.append({"before_ms": before_ms, "requests_only": requests_only})
        first = min(self.stuck, key=lambda event: event.occurred_at_ms, default=None)
        return None if first is None else Overdue(first.notification_id, first.occurred_at_ms)

    async def overdue(self, before_ms: int, *, after: Overdue | None = None, limit: int, **asked: Any) -> list[Overdue]:
        self.asked.append({"before_ms": before_ms, **asked})
        all_ = [Overdue(event.notification_id, event.occurred_at_ms) for event in self.stuck]
        begin = 0 if after is None else all_.index(after) + 1
        return all_[begin : begin + limit]

    async def merge(self, facts: Mapping[str, object]) -> None:
        if self.refused.intersection(facts):
            raise Unstorable("refused")
        self.merged += facts

    async def claim(self, ids: Sequence[str], *, now_ms: int, wait_ms: int, most: int) -> set[str]:
        self.claims.append((list(ids), wait_ms, most))
        return set(ids[:most])

    async def oldest(self) -> dict[str, int]:
        return {}

    async def histories_of(self, ids: Collection[str]) -> dict[str, list[Event]]:
        found = {event.notification_id: [event] for event in self.stuck if event.notification_id in ids}
        for one in self.ended.intersection(found):
            order = types.dispatched(found[one][0], attempt=1, now_ms=REQUESTED_MS)
            found[one].append(types.sent(order, provider="p", provider_message_id="", now_ms=REQUESTED_MS))
        return found

    async def send(self, orders: Sequence[Order], now_ms: int) -> None:
        assert now_ms == NOW_MS
        self.sent += orders

    def sweeper(self, *, most: int = 500, most_waiting: int = 10, requests_only: bool = False) -> Sweeper:
        limits = Limits(
            after_s=AFTER_MS / 1000,
            interval_s=60,
            most=most,
            most_waiting=most_waiting,
            requests_only=requests_only,
        )
        this = cast("Any", self)
        return Sweeper("amqp://", this, this, this, this, this, limits, clock=Clock())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    async def depths(_: str, queues: Sequence[str]) -> dict[str, int]:
        return {queue: world.waiting.get(queue, 0) for queue in queues}

    monkeypatch.setattr(module, "depths", depths)
    monkeypatch.setattr(module, "_PAGE", 2)
    return world


def requests(count: int) -> list[Event]:
    return [a_request(now_ms=REQUESTED_MS + number) for number in range(count)]


def swept(kind: str) -> float:
    return REGISTRY.get_sample_value("wavecom_sweeper_swept_total", {"kind": kind}) or 0


def oldest_s() -> float | None:
    return REGISTRY.get_sample_value("wavecom_notifications_oldest_stuck_seconds")


async def test_no_more_are_taken_than_the_limit_also_over_several_pages(world: World) -> None:
    world.stuck = requests(7)
    ids = [event.notification_id for event in world.stuck]
    sweeper = world.sweeper(most=3)
    assert await sweeper.sweep() == {}
    assert world.claims == [([], AFTER_MS, 3)] * 4
    world.claims.clear()
    assert await sweeper.sweep() == {REQUEST: 3}
    assert world.claims == [(ids[:2], AFTER_MS, 3), (ids[2:4], AFTER_MS, 1)]
    assert [order.work for order in world.sent] == world.stuck[:3]


async def test_what_was_seen_before_a_backlog_is_seen_twice_again_before_it_is_sent(world: World) -> None:
    world.stuck = requests(1)
    sweeper = world.sweeper()
    assert await sweeper.sweep() == {}
    world.waiting = {routing.PROJECTOR_QUEUE: 11}
    assert await sweeper.sweep() == {}
    world.waiting = {}
    assert [await sweeper.sweep() for _ in range(2)] == [{}, {REQUEST: 1}]


async def test_what_was_seen_and_then_was_not_is_seen_twice_again(world: World) -> None:
    world.stuck = requests(2)
    sweeper = world.sweeper()
    await sweeper.sweep()
    gone = world.stuck.pop()
    assert await sweeper.sweep() == {REQUEST: 1}
    world.stuck = [gone]
    assert [await sweeper.sweep() for _ in range(2)] == [{}, {REQUEST: 1}]


async def test_what_is_sent_again_is_counted_by_kind_and_reported_with_the_oldest(world: World) -> None:
    world.stuck = requests(3)
    world.ended = {world.stuck[2].notification_id}
    before = {kind: swept(kind) for kind in (REQUEST, REPAIRED)}
    sweeper = world.sweeper()
    with capture_logs() as logged:
        assert [await sweeper.sweep() for _ in range(2)] == [{}, {REQUEST: 2, REPAIRED: 1}]
    assert {kind: swept(kind) - was for kind, was in before.items()} == {REQUEST: 2, REPAIRED: 1}
    assert world.merged == [world.stuck[2].notification_id]
    age_s = (NOW_MS - REQUESTED_MS) // 1000
    oldest = world.stuck[0].notification_id
    assert [(line["event"], line["oldest"], line["oldest_overdue_s"]) for line in logged] == [("swept", oldest, age_s)]


async def test_one_that_the_model_refuses_keeps_no_other_and_is_not_counted(world: World) -> None:
    world.stuck = requests(3)
    world.ended = {event.notification_id for event in world.stuck}
    world.refused = {world.stuck[1].notification_id}
    before = swept(REPAIRED)
    sweeper = world.sweeper()
    with capture_logs() as logged:
        assert [await sweeper.sweep() for _ in range(2)] == [{}, {REPAIRED: 2}]
    assert swept(REPAIRED) - before == 2
    assert [line["notification_id"] for line in logged if line["event"] == "model_not_repaired"] == [*world.refused]


async def test_how_long_the_oldest_stands_still_is_shown(world: World) -> None:
    sweeper = world.sweeper()
    world.stuck = requests(1)
    await sweeper.sweep()
    assert oldest_s() == (NOW_MS - REQUESTED_MS) / 1000
    # A sweep for requests says nothing of deliveries.
    world.stuck = []
    await world.sweeper(requests_only=True).sweep()
    assert oldest_s() == (NOW_MS - REQUESTED_MS) / 1000
    await sweeper.sweep()
    assert oldest_s() == 0


async def test_only_what_is_overdue_and_cannot_wait_in_a_queue_is_asked_for(world: World) -> None:
    world.stuck = requests(1)
    world.waiting = {routing.DISPATCHER_QUEUE: 11, routing.sender_queue("sms", "low"): 11}
    await world.sweeper().sweep()
    first, page, *_ = world.asked
    before_ms = NOW_MS - AFTER_MS
    assert first == {"before_ms": before_ms, "requests_only": False}
    assert (page["before_ms"], page["requests"]) == (before_ms, False)
    assert ("sms", "low") not in page["deliveries"]
    assert len(page["deliveries"]) == 8


async def test_a_sweep_for_requests_asks_for_requests_only(world: World) -> None:
    world.stuck = requests(1)
    world.waiting = {routing.sender_queue("sms", "low"): 11}
    await world.sweeper(requests_only=True).sweep()
    first, page, *_ = world.asked
    assert (first["requests_only"], page["requests"], page["deliveries"]) == (True, True, {})


async def test_no_more_are_looked_at_than_can_be_kept_in_mind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_LOOKED_AT", 4)
    world.stuck = requests(9)
    sweeper = world.sweeper()
    await sweeper.sweep()
    assert len(world.claims) == 2
    assert await sweeper.sweep() == {REQUEST: 4}


async def test_a_server_that_is_away_fails_the_sweep_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> dict[str, int]:
        raise Unavailable("the broker cannot be reached")

    world.stuck = requests(1)
    sweeper = world.sweeper()
    await sweeper.work()
    with monkeypatch.context() as patched, capture_logs() as logged:
        patched.setattr(module, "depths", away)
        await sweeper.work()
    assert [(line["event"], line["error"]) for line in logged] == [("sweep_failed", "the broker cannot be reached")]
    # What was seen before counts for nothing.
    await sweeper.work()
    assert world.sent == []
    await sweeper.work()
    assert len(world.sent) == 1
