"""A URL that sends reads to a secondary that lags: what decides is asked of the primary all the same."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from status_projector.model.pointer import Phase, Pointers
from wavecom_common.delivery.ledger import Ledger
from wavecom_common.events.outcomes import Delivered
from wavecom_common.storage import indexes
from wavecom_common.storage.client import Database
from wavecom_common.storage.errors import database_errors

from tests.fault.replica_set import FAIL_POINTS, ReplicaSet


@pytest.fixture
async def lagging(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of three of which one applies nothing any more, and is asked."""
    replica_set = ReplicaSet(tmp_path, FAIL_POINTS)
    try:
        await replica_set.start()
        # Before one of them lags: a busy machine needs most of an operation's time limit for it with all three.
        database = Database(replica_set.url, "lagging")
        try:
            await indexes.apply(database)
        finally:
            await database.close()
        await replica_set.hold_back()
        yield f"{replica_set.url}&readPreference=secondary&readPreferenceTags=lags:yes"
    finally:
        replica_set.stop()


@pytest.mark.timeout(180)
async def test_what_was_claimed_and_recorded_a_moment_ago_is_found_although_a_secondary_lags(lagging: str) -> None:
    deciding, answering = Database(lagging, "lagging"), Database(lagging, "lagging", only_answers=True)
    a, b = Ledger(deciding, owner="a"), Ledger(deciding, owner="b")
    await a.claim_all(["n:1", "n:2"])
    await a.settle("n:1", Delivered("x"), 1)

    settled, open_ = await b.claim_all(["n:1", "n:2"])

    assert settled is not None
    assert settled.outcome == Delivered("x")
    assert open_ is not None
    assert open_.owner == "a"
    # The secondary is behind indeed, and readers that decide nothing may read there.
    with database_errors():
        assert await answering.collection("deliveries", decides=False).find_one({"_id": "n:1"}) is None
    # Where the read model is decides what is written, and what is dropped: readers ask the primary for it as well.
    pointers = Pointers(answering)
    found = await pointers.read()
    moved = await pointers.change(found, found.to(Phase.BUILDING))
    assert await pointers.read() == moved
    await deciding.close()
    await answering.close()
