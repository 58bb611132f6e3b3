"""A key has one answer, and what is delivered is what it says: in thousands of worlds, and not in those with a bug."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
import structlog
from ingest_api.idempotency import keys
from ingest_api.idempotency.keys import IdempotencyKeys, KeyRecord
from ingest_api.keyed import IdempotentRequests
from ingest_api.withdrawals import Withdrawals
from wavecom_common.delivery.withdrawals import Withdrawals as WithdrawalStore

from tests.simulation.key_world import KeyOutcome, simulate_key

FIRST = int(os.environ.get("WAVECOM_SIMULATION_SEED", "0"))
COUNT = int(os.environ.get("WAVECOM_SIMULATIONS", "2000"))
# Within so many worlds a planted bug is found.
PLANTED = 400
TWO_ANSWERS = "the key has two answers"
NOT_DELIVERED_AS_SAID = "what was delivered is not what the answer says is accepted"
NOBODY_TOLD = "something was delivered that nobody was told is accepted"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    yield
    structlog.reset_defaults()


def found(saying: str) -> KeyOutcome | None:
    outcomes = (simulate_key(seed) for seed in range(FIRST, FIRST + PLANTED))
    return next((outcome for outcome in outcomes if saying in outcome.wrong), None)


@pytest.mark.timeout(300)
def test_in_no_world_a_key_has_two_answers_or_another_delivery_than_its_answer_says() -> None:
    statuses, withdrawn, deaths = Counter[int](), 0, 0
    for seed in range(FIRST, FIRST + COUNT):
        outcome = simulate_key(seed)
        assert not outcome.wrong, f"WAVECOM_SIMULATION_SEED={seed} WAVECOM_SIMULATIONS=1 shows it: {outcome}"
        statuses.update(status for status, _ in outcome.answers)
        withdrawn += outcome.withdrawn
        deaths += outcome.deaths
    print(f"{COUNT} worlds: answers {dict(statuses)}, {withdrawn} withdrawn, {deaths} processes killed")
    assert min(statuses[201], statuses[207], statuses[503], withdrawn, deaths) > COUNT / 20


def test_a_seed_replays_exactly() -> None:
    assert [seen(simulate_key(seed)) for seed in range(20)] == [seen(simulate_key(seed)) for seed in range(20)]


def seen(outcome: KeyOutcome) -> tuple[list[int], int, int]:
    """All but the ids, which are new every time."""
    return [status for status, _ in outcome.answers], outcome.withdrawn, outcome.deaths


def test_a_withdrawal_that_is_left_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def left_out(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(Withdrawals, "carry_out", left_out)
    assert found(NOBODY_TOLD) is not None


def test_an_answer_that_does_not_heed_a_withdrawal_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_as_known", lambda record_id, record, *, withdrawn: {"_id": record_id})
    assert found(NOT_DELIVERED_AS_SAID) is not None


def test_a_withdrawal_that_does_not_heed_the_keys_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def always(self: IdempotencyKeys, record_id: str, record: KeyRecord) -> KeyRecord:
        return record

    monkeypatch.setattr(IdempotencyKeys, "withdraw", always)
    assert found(NOT_DELIVERED_AS_SAID) is not None


def test_a_key_that_is_renewed_without_asking_the_ledger_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unasked(self: WithdrawalStore, notification_ids: Sequence[str]) -> frozenset[str]:
        return frozenset(notification_ids)

    monkeypatch.setattr(WithdrawalStore, "withdraw", unasked)
    assert found(NOT_DELIVERED_AS_SAID) is not None


def test_an_answer_that_is_given_but_not_stored_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    complete = IdempotentRequests._complete

    async def give_it_anyway(*args: Any) -> None:
        with suppress(Exception):
            await complete(*args)

    monkeypatch.setattr(IdempotentRequests, "_complete", give_it_anyway)
    assert found(NOT_DELIVERED_AS_SAID) is not None or found(TWO_ANSWERS) is not None
