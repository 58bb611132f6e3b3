"""Thousands of worlds, each with its own faults; and worlds with a planted bug, which must be found."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest
import structlog
from status_projector.model import facts_document
from status_projector.model.facts import Facts
from status_projector.recovery import missing_events
from status_projector.recovery.missing_events import Order
from wavecom_common.delivery import claim, give_up
from wavecom_common.delivery.claims import Decision, LookAgain, Resume, decide
from wavecom_common.delivery.ledger import Claim
from wavecom_common.delivery.withdrawals import Withdrawals
from wavecom_common.messaging.handling import Handling
from wavecom_common.messaging.incoming import Link, Raw
from wavecom_proto.v1.events_pb2 import Event

from tests.simulation.memory_database import View
from tests.simulation.world import Outcome, simulate

FIRST = int(os.environ.get("WAVECOM_SIMULATION_SEED", "0"))
COUNT = int(os.environ.get("WAVECOM_SIMULATIONS", "2000"))
# Within so many worlds a planted bug is found.
PLANTED = 200


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    yield
    structlog.reset_defaults()


def first_wrong(count: int, saying: str) -> Outcome | None:
    """The first world in which this is wrong: a planted bug may show in other ways before."""
    outcomes = (simulate(seed) for seed in range(FIRST, FIRST + count))
    return next((outcome for outcome in outcomes if any(saying in wrong for wrong in outcome.wrong)), None)


@pytest.mark.timeout(600)
def test_in_no_world_a_promise_is_broken() -> None:
    deaths = repeated = sent_again = refused = 0
    for seed in range(FIRST, FIRST + COUNT):
        outcome = simulate(seed)
        assert not outcome.wrong, f"WAVECOM_SIMULATION_SEED={seed} WAVECOM_SIMULATIONS=1 shows it: {outcome}"
        deaths += outcome.deaths
        repeated += outcome.repeated_calls
        sent_again += outcome.sent_again
        refused += outcome.refused
    told = f"{deaths} processes killed, {repeated} calls repeated with their outcome unknown"
    print(f"{COUNT} worlds, {told}, {sent_again} notifications sent again out of the event store, {refused} refused")
    assert deaths > COUNT
    assert repeated > 0
    assert sent_again > 0
    assert refused > 0


def test_a_seed_replays_exactly() -> None:
    assert [simulate(seed) for seed in range(5)] == [simulate(seed) for seed in range(5)]


def test_an_ack_before_the_work_is_done_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    process: Callable[[Handling, Raw, Link], Coroutine[None, None, bool]] = Handling.process

    async def ack_first(self: Handling, raw: Raw, link: Link) -> bool:
        asyncio.get_running_loop().create_task(process(self, raw, link))
        return True

    monkeypatch.setattr(Handling, "process", ack_first)
    assert first_wrong(PLANTED, "has 0 ends") is not None


def test_a_lease_that_is_ignored_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def ignore_lease(found: Claim | None, *, owner: str, now_ms: int) -> Decision:
        decision = decide(found, owner=owner, now_ms=now_ms)
        return Resume() if isinstance(decision, LookAgain) else decision

    for stage in (claim, give_up):
        monkeypatch.setattr(stage, "decide", ignore_lease)
    assert first_wrong(PLANTED, "although the first caller lives") is not None


def test_leases_by_the_senders_own_clocks_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(View, "clock", property(lambda view: view.process.clock))
    assert first_wrong(PLANTED, "although the first caller lives") is not None


def test_a_sweeper_that_forgets_what_waits_for_its_retry_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    missing: Callable[[Sequence[Event], int], Order | None] = missing_events.missing

    def no_retry(events: Sequence[Event], now_ms: int) -> Order | None:
        order = missing(events, now_ms)
        return order if order is None or order.kind != missing_events.RETRY else None

    monkeypatch.setattr(missing_events, "missing", no_retry)
    assert first_wrong(PLANTED, "has 0 ends") is not None


def test_a_sweeper_that_sends_the_next_attempt_in_place_of_the_one_under_way_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempt: Callable[[Sequence[Event], Event, int], Event] = missing_events._attempt
    monkeypatch.setattr(
        missing_events, "_attempt", lambda events, request, number: attempt(events, request, number + 1)
    )
    assert first_wrong(PLANTED, "although the attempt before had not failed") is not None


def test_a_recovery_that_forgets_the_dedup_key_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    retry: Callable[[Event, Event], Event] = missing_events._retry

    def with_a_new_key(request: Event, scheduled: Event) -> Event:
        order = retry(request, scheduled)
        order.dedup_key = order.event_id
        return order

    monkeypatch.setattr(missing_events, "_retry", with_a_new_key)
    assert first_wrong(5 * PLANTED, "dedup keys") is not None


def test_a_terminal_state_that_is_not_locked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    update: Callable[[Facts], dict[str, Any]] = facts_document.update

    def last_one_wins(facts: Facts) -> dict[str, Any]:
        operators = update(facts)
        head = operators["$max"].pop("head")
        operators["$set"] = {**operators.get("$set", {}), "head": head}
        return operators

    monkeypatch.setattr(facts_document, "update", last_one_wins)
    assert first_wrong(PLANTED, "not the fold") is not None


def test_a_withdrawal_that_is_not_done_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_done(self: Withdrawals, notification_ids: Sequence[str]) -> frozenset[str]:
        return frozenset(notification_ids)

    monkeypatch.setattr(Withdrawals, "withdraw", not_done)
    assert first_wrong(PLANTED, "although the request was refused") is not None
