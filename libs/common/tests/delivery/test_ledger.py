"""The ledger on a real database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from collections.abc import Collection as Keys

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from wavecom_common.delivery import ledger as ledger_module
from wavecom_common.delivery.ledger import LEASE_S, Claim, Ledger, Settled
from wavecom_common.events.outcomes import (
    Delivered,
    GivenUp,
    PermanentFailure,
    Throttled,
    TransientFailure,
    UnknownOutcome,
    Withdrawn,
)
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.storage import indexes, inserts, names
from wavecom_common.storage.client import Database
from wavecom_common.storage.driver import Collection, DatetimeMS, Document
from wavecom_common.testing.waiting import eventually


class Hands:
    """A clock that stands where it is put; sleeping returns when it was moved that far."""

    def __init__(self) -> None:
        # Far ahead: the server forgets what is old.
        self.at_ms = 4_000_000_000_000
        self._moved = asyncio.Event()

    def now_ms(self) -> int:
        return self.at_ms

    async def sleep(self, seconds: float) -> None:
        due_ms = self.at_ms + seconds * 1000
        while self.at_ms < due_ms:
            self._moved.clear()
            await self._moved.wait()

    def move(self, ms: int) -> None:
        self.at_ms += ms
        self._moved.set()


@pytest.fixture
async def database(mongodb_url: str, database_name: str) -> AsyncIterator[Database]:
    database = Database(mongodb_url, database_name)
    await indexes.apply(database)
    yield database
    await database.close()


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def ledger_of(database: Database, clock: Hands) -> Callable[[str], Ledger]:
    return lambda owner: Ledger(database, owner=owner, clock=clock, lease_s=10)


async def test_of_many_who_claim_an_attempt_one_gets_it(ledger_of: Callable[[str], Ledger]) -> None:
    ledgers = [ledger_of(f"sender-{number}") for number in range(5)]
    found = await asyncio.gather(*[ledger.claim("n:1") for ledger in ledgers])
    assert found.count(None) == 1
    [winner] = [f"sender-{number}" for number, claim in enumerate(found) if claim is None]
    assert {claim.owner for claim in found if claim} == {winner}


async def test_asking_again_finds_our_own_claim(ledger_of: Callable[[str], Ledger]) -> None:
    ledger = ledger_of("a")
    assert await ledger.claim("n:1") is None
    found = await ledger.claim("n:1")
    assert found is not None
    assert (found.owner, found.outcome, found.taken_over) == ("a", None, False)


async def test_an_outcome_is_found_by_whoever_asks_later(ledger_of: Callable[[str], Ledger]) -> None:
    a, b = ledger_of("a"), ledger_of("b")
    await a.claim("n:1")
    await a.settle("n:1", TransientFailure("busy"), 77)
    found = await b.claim("n:1")
    assert found is not None
    assert (found.outcome, found.ended_at_ms) == (TransientFailure("busy"), 77)


async def test_the_first_outcome_stored_stays(ledger_of: Callable[[str], Ledger]) -> None:
    a, b = ledger_of("a"), ledger_of("b")
    await a.claim("n:1")
    await a.settle("n:1", Delivered("x"), 1)
    settled = await b.settle("n:1", TransientFailure("late"), 2)
    assert (settled.outcome, settled.ended_at_ms) == (Delivered("x"), 1)


async def test_one_of_many_takes_over_what_was_left(ledger_of: Callable[[str], Ledger], clock: Hands) -> None:
    await ledger_of("dead").claim("n:1")
    clock.move(10_001)
    others = [ledger_of(f"sender-{number}") for number in range(5)]
    found = [await other.claim("n:1") for other in others]
    assert all(claim is not None and claim.lease_until_ms < clock.now_ms() for claim in found)
    taken = await asyncio.gather(*[o.take_over("n:1", c) for o, c in zip(others, found, strict=True) if c is not None])
    assert taken.count(True) == 1
    after = await ledger_of("onlooker").claim("n:1")
    assert after is not None
    assert after.taken_over


async def test_a_living_owner_keeps_its_lease(ledger_of: Callable[[str], Ledger], clock: Hands) -> None:
    owner, other = ledger_of("owner"), ledger_of("other")
    await owner.start()
    await owner.claim("n:1")
    found = await other.claim("n:1")
    assert found is not None
    for _ in range(5):
        before_ms = found.lease_until_ms

        async def renewed(before_ms: int = before_ms) -> bool:
            clock.move(1_000)
            later = await other.claim("n:1")
            return later is not None and later.lease_until_ms > before_ms

        await eventually(renewed)
        found = await other.claim("n:1")
        assert found is not None
        assert found.lease_until_ms > clock.now_ms()
    await owner.close()


async def test_hundreds_of_claims_are_one_write_and_so_are_outcomes(
    ledger_of: Callable[[str], Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_new, sizes = inserts.insert_new, list[int]()

    async def counted(collection: Collection, documents: Sequence[Document]) -> set[int]:
        sizes.append(len(documents))
        return await insert_new(collection, documents)

    monkeypatch.setattr(ledger_module, "insert_new", counted)
    ledger = ledger_of("a")
    keys = [f"n{number}:1" for number in range(500)]
    assert set(await ledger.claim_all(keys)) == {None}
    settled = await ledger.settle_all([Settled(key, Delivered(key), 5) for key in keys])
    assert [claim.outcome for claim in settled] == [Delivered(key) for key in keys]
    assert sizes == [500, 500]


async def test_an_attempt_that_is_settled_is_not_held_any_more(
    ledger_of: Callable[[str], Ledger], clock: Hands
) -> None:
    owner, other = ledger_of("owner"), ledger_of("other")
    await owner.start()
    await owner.claim("settled:1")
    await owner.settle("settled:1", Delivered("x"), 1)
    # Its message came again.
    found = await owner.claim("settled:1")
    assert found is not None
    await owner.claim("open:1")
    before = await other.claim("open:1")
    assert before is not None

    async def renewed() -> bool:
        clock.move(1_000)
        later = await other.claim("open:1")
        return later is not None and later.lease_until_ms > before.lease_until_ms

    await eventually(renewed)
    again = await other.claim("settled:1")
    assert again is not None
    assert again.lease_until_ms == found.lease_until_ms
    await owner.close()


async def test_an_outcome_of_a_later_version_fails_no_claim(
    database: Database, ledger_of: Callable[[str], Ledger]
) -> None:
    ledger = ledger_of("a")
    await ledger.claim_all(["n:1", "n:2"])
    await ledger.settle("n:1", Delivered("x"), 1)
    await database.collection(names.DELIVERIES).update_one(
        {"_id": "n:1:settled"}, {"$set": {"kind": "Teleported", "outcome": {"where": "away"}}}
    )
    first, second, third = await ledger_of("b").claim_all(["n:1", "n:2", "n:3"])
    assert first is not None
    assert isinstance(first.outcome, UnknownOutcome)
    assert second is not None
    assert second.outcome is None
    assert third is None


async def test_an_own_claim_found_after_a_lost_answer_is_renewed_at_once(
    ledger_of: Callable[[str], Ledger], clock: Hands
) -> None:
    # The same owner as another object: what it wrote is there, and its answer never came.
    await ledger_of("a").claim("n:1")
    clock.move(9_000)
    found = await ledger_of("a").claim("n:1")
    assert found is not None
    assert found.lease_until_ms == clock.now_ms() + 10_000
    clock.move(2_000)
    seen = await ledger_of("b").claim("n:1")
    assert seen is not None
    assert (seen.owner, seen.lease_until_ms > clock.now_ms()) == ("a", True)


async def test_an_own_claim_found_too_late_belongs_to_who_took_it_over(
    ledger_of: Callable[[str], Ledger], clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = ledger_of("a"), ledger_of("b")
    await a.claim("n:1")
    clock.move(10_001)
    left = await b.claim("n:1")
    assert left is not None
    extend = Ledger._extend

    async def too_late(ledger: Ledger, keys: Keys[str]) -> int:
        assert await b.take_over("n:1", left)
        return await extend(ledger, keys)

    monkeypatch.setattr(Ledger, "_extend", too_late)
    found = await a.claim("n:1")
    assert found is not None
    assert (found.owner, found.taken_over) == ("b", True)


async def test_what_is_released_is_renewed_no_more_and_what_others_took_over_never(
    ledger_of: Callable[[str], Ledger], clock: Hands
) -> None:
    owner, other, onlooker = ledger_of("owner"), ledger_of("other"), ledger_of("onlooker")
    keys = ["released:1", "lost:1", "held:1"]
    await owner.claim_all(keys)
    owner.release("released:1")
    clock.move(10_001)
    released, lost, _ = await onlooker.claim_all(keys)
    assert lost is not None
    assert await other.take_over("lost:1", lost)
    [taken] = await onlooker.claim_all(["lost:1"])
    await owner.start()

    async def renewed() -> bool:
        clock.move(1_000)
        [held] = await onlooker.claim_all(["held:1"])
        return held is not None and held.lease_until_ms > clock.now_ms()

    await eventually(renewed)
    assert await onlooker.claim_all(["released:1", "lost:1"]) == [released, taken]
    await owner.close()


@pytest.mark.parametrize("moment", ["renewed", "settled"])
async def test_a_take_over_fails_when_its_owner_came_back_meanwhile(
    ledger_of: Callable[[str], Ledger], clock: Hands, moment: str
) -> None:
    owner, other = ledger_of("owner"), ledger_of("other")
    await owner.claim("n:1")
    clock.move(10_001)
    found = await other.claim("n:1")
    assert found is not None
    if moment == "renewed":
        await owner.claim("n:1")
    else:
        await owner.settle("n:1", Delivered("x"), 1)
    assert not await other.take_over("n:1", found)


async def test_a_claim_that_is_there_and_cannot_be_found_is_not_free(
    ledger_of: Callable[[str], Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = ledger_of("a"), ledger_of("b")
    await a.claim("n:1")

    async def nothing(_: Ledger, __: set[str]) -> dict[str, Claim]:
        return {}

    with monkeypatch.context() as lagging:
        lagging.setattr(Ledger, "_find", nothing)
        unknown, ours = await b.claim_all(["n:1", "n:2"])
        assert isinstance(unknown, Unavailable)
        assert ours is None
        with pytest.raises(Unavailable):
            await b.claim("n:1")
    # The other was claimed with it, and is found when it is asked for again.
    first, second = await b.claim_all(["n:1", "n:2"])
    assert first is not None
    assert first.owner == "a"
    assert second is not None
    assert second.owner == "b"


async def test_an_outcome_that_is_there_and_cannot_be_found_is_not_replaced_by_a_later_one(
    ledger_of: Callable[[str], Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = ledger_of("a"), ledger_of("b")
    await a.claim("n:1")
    await a.settle("n:1", Delivered("x"), 1)

    async def nothing(_: Ledger, __: set[str]) -> dict[str, Claim]:
        return {}

    with monkeypatch.context() as lagging:
        lagging.setattr(Ledger, "_find", nothing)
        with pytest.raises(Unavailable):
            await b.settle("n:1", TransientFailure("late"), 2)


OUTCOMES = [
    Delivered("x"),
    TransientFailure("busy"),
    Throttled("slow down", 2.5),
    PermanentFailure("gone"),
    UnknownOutcome("no answer"),
    GivenUp("poison"),
    Withdrawn("not confirmed"),
]


async def test_an_outcome_of_any_kind_comes_back_as_it_was_stored(ledger_of: Callable[[str], Ledger]) -> None:
    owner, other = ledger_of("owner"), ledger_of("other")
    keys = [f"n{number}:1" for number in range(len(OUTCOMES))]
    await owner.claim_all(keys)
    settled = [
        Settled(key, outcome, 70 + place) for place, (key, outcome) in enumerate(zip(keys, OUTCOMES, strict=True))
    ]
    assert [claim.outcome for claim in await owner.settle_all(settled)] == OUTCOMES
    found = await other.claim_all(keys)
    assert [claim and (claim.owner, claim.outcome, claim.ended_at_ms) for claim in found] == [
        ("owner", outcome, 70 + place) for place, outcome in enumerate(OUTCOMES)
    ]


async def test_what_is_stored_is_what_every_version_reads(
    database: Database, ledger_of: Callable[[str], Ledger], clock: Hands
) -> None:
    ledger, other = ledger_of("owner"), ledger_of("other")
    await ledger.claim("n:1")
    at_ms = clock.now_ms()
    clock.move(11_000)
    found = await other.claim("n:1")
    assert found is not None
    assert await other.take_over("n:1", found)
    await other.settle("n:1", Throttled("slow down", 2.5), 77)
    stored = await database.collection(names.DELIVERIES).find({}, sort=[("_id", 1)]).to_list(None)
    assert stored == [
        {
            "_id": "n:1",
            "at": DatetimeMS(at_ms),
            "owner": "other",
            "leaseUntil": DatetimeMS(at_ms + 21_000),
            "takenOver": True,
        },
        {
            "_id": "n:1:settled",
            "at": DatetimeMS(at_ms + 11_000),
            "kind": "Throttled",
            "outcome": {"error": "slow down", "retry_after_s": 2.5},
            "endedAt": DatetimeMS(77),
        },
    ]


async def test_a_lease_is_renewed_at_a_third_of_its_time_until_the_ledger_is_closed(
    ledger_of: Callable[[str], Ledger], clock: Hands
) -> None:
    owner, onlooker = ledger_of("owner"), ledger_of("onlooker")
    await owner.start()
    await owner.claim("n:1")
    begun_ms = clock.now_ms()

    async def lease_ms() -> int:
        found = await onlooker.claim("n:1")
        assert found is not None
        return found.lease_until_ms - begun_ms

    # The first look comes with a third of the time over: not a moment later is there more than that left.
    clock.move(3_340)
    await eventually(lambda: lease_is(lease_ms, 13_340))
    clock.move(3_340)
    await eventually(lambda: lease_is(lease_ms, 16_680))
    await owner.close()
    clock.move(30_000)
    for _ in range(5):
        await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.01)
        assert await lease_ms() == 16_680


async def lease_is(lease_ms: Callable[[], Awaitable[int]], expected: int) -> bool:
    return await lease_ms() == expected


async def test_a_renewal_that_fails_is_logged_and_the_next_one_is_made(
    ledger_of: Callable[[str], Ledger], clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, onlooker = ledger_of("owner"), ledger_of("onlooker")
    await owner.start()
    await owner.claim("n:1")
    extend, errors = Ledger._extend, [Unavailable("the database is away")]

    async def failing(ledger: Ledger, keys: Keys[str]) -> int:
        if errors:
            raise errors.pop()
        return await extend(ledger, keys)

    monkeypatch.setattr(Ledger, "_extend", failing)
    with capture_logs() as logged:
        clock.move(3_340)
        await eventually(lambda: not errors)
        clock.move(3_340)

        async def renewed() -> bool:
            found = await onlooker.claim("n:1")
            return found is not None and found.lease_until_ms == clock.now_ms() + 10_000

        await eventually(renewed)
    assert [(line["event"], line["count"], line["error"]) for line in logged] == [
        ("leases_not_renewed", 1, "the database is away")
    ]
    await owner.close()


async def test_the_batches_of_claims_and_outcomes_are_measured(ledger_of: Callable[[str], Ledger]) -> None:
    def measured(what: str) -> tuple[float, float]:
        values = [REGISTRY.get_sample_value(f"wavecom_batch_size_{kind}", {"what": what}) for kind in ("count", "sum")]
        return values[0] or 0, values[1] or 0

    before = measured("claim"), measured("outcome")
    ledger = ledger_of("a")
    await ledger.claim_all(["n:1", "n:2", "n:3"])
    await ledger.settle_all([Settled("n:1", Delivered("x"), 1), Settled("n:2", Delivered("x"), 1)])
    after = measured("claim"), measured("outcome")
    grown = [(now[0] - was[0], now[1] - was[1]) for now, was in zip(after, before, strict=True)]
    assert grown == [(1, 3), (1, 2)]


async def test_leases_go_by_the_database_s_clock_where_no_other_is_given(database: Database) -> None:
    ledger = Ledger(database, owner="a")
    await ledger.claim("n:1")
    assert abs(ledger.now_ms() - database.clock.now_ms()) < 1_000
    found = await Ledger(database, owner="b").claim("n:1")
    assert found is not None
    assert 0 < found.lease_until_ms - ledger.now_ms() <= LEASE_S * 1000


@pytest.mark.parametrize("kind", ["claim", "outcome"])
async def test_what_cannot_be_found_says_which(
    ledger_of: Callable[[str], Ledger], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    a, b = ledger_of("a"), ledger_of("b")
    await a.claim("n:1")
    await a.settle("n:1", Delivered("x"), 1)

    async def nothing(_: Ledger, __: set[str]) -> dict[str, Claim]:
        return {}

    monkeypatch.setattr(Ledger, "_find", nothing)
    expected = "a claim is there that" if kind == "claim" else "an outcome is stored that"
    with pytest.raises(Unavailable, match=f"^database: {expected} cannot be found$"):
        await (b.claim("n:1") if kind == "claim" else b.settle("n:1", Delivered("y"), 1))
