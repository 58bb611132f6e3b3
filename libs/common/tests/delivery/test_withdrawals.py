"""Withdrawing what was refused, against senders that claim it, on a real database."""

import asyncio
from collections.abc import Sequence

import pytest
from wavecom_common.delivery import withdrawals as withdrawals_module
from wavecom_common.delivery.ledger import Ledger
from wavecom_common.delivery.withdrawals import ERROR, Withdrawals
from wavecom_common.events.outcomes import Withdrawn
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import Collection, Document

pytestmark = pytest.mark.connected

IDS = [f"675a1b2c3d4e5f60718{number:05}" for number in range(300)]


@pytest.fixture
def withdrawals(database: Database) -> Withdrawals:
    return Withdrawals(database, timeout_s=10)


@pytest.fixture
def sender(database: Database) -> Ledger:
    return Ledger(database, owner="sender")


async def test_a_sender_finds_that_what_it_wants_to_claim_is_withdrawn(
    withdrawals: Withdrawals, sender: Ledger
) -> None:
    assert await withdrawals.withdraw(IDS[:2]) == {*IDS[:2]}

    [first, second, third] = await sender.claim_all([f"{one}:1" for one in IDS[:3]])

    assert first is not None
    assert second is not None
    assert first.outcome == second.outcome == Withdrawn(ERROR)
    assert first.ended_at_ms > 0
    assert third is None


async def test_what_a_sender_has_claimed_is_not_withdrawn(withdrawals: Withdrawals, sender: Ledger) -> None:
    await sender.claim(f"{IDS[0]}:1")

    assert await withdrawals.withdraw(IDS[:2]) == {IDS[1]}


async def test_asking_again_gives_the_same_answer_for_each(withdrawals: Withdrawals, sender: Ledger) -> None:
    await sender.claim(f"{IDS[0]}:1")
    await withdrawals.withdraw(IDS[1:2])

    asked = await asyncio.gather(*[withdrawals.withdraw(IDS[:3]) for _ in range(5)])

    assert asked == [{IDS[1], IDS[2]}] * 5


async def test_of_a_sender_and_a_withdrawal_at_once_each_notification_has_one(
    mongodb_url: str, database: Database, withdrawals: Withdrawals
) -> None:
    link = Database(mongodb_url, database.name)
    sender = Ledger(link, owner="sender")
    keys = [f"{one}:1" for one in IDS]

    withdrawn, claims = await asyncio.gather(
        asyncio.gather(*[withdrawals.withdraw([one]) for one in IDS]),
        asyncio.gather(*[sender.claim(key) for key in reversed(keys)]),
    )

    gone = frozenset[str]().union(*withdrawn)
    called = {one for one, claim in zip(reversed(IDS), claims, strict=True) if claim is None}
    assert gone | called == {*IDS}
    assert not gone & called
    await link.close()


async def test_a_claim_that_is_there_but_cannot_be_found_is_asked_for_again(
    withdrawals: Withdrawals, sender: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a member of the replica set that lags behind."""
    await sender.claim(f"{IDS[0]}:1")
    insert_new = withdrawals_module.insert_new

    async def and_lag(collection: Collection, documents: Sequence[Document]) -> set[int]:
        there = await insert_new(collection, documents)
        await collection.delete_many({})
        return there

    monkeypatch.setattr(withdrawals_module, "insert_new", and_lag)
    with pytest.raises(Unavailable, match="cannot be found"):
        await withdrawals.withdraw(IDS[:1])


async def test_without_a_database_the_caller_hears_of_it_in_time(unused_tcp_port: int) -> None:
    nowhere = Database(f"mongodb://127.0.0.1:{unused_tcp_port}/?directConnection=true", "x")

    with pytest.raises(Unavailable):
        await Withdrawals(nowhere, timeout_s=0.2).withdraw(IDS[:1])
    await nowhere.close()
