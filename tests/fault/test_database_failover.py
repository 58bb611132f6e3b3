"""Three members of a replica set, and the primary is killed while everybody writes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from status_projector.model import projection
from status_projector.model.read_model import ReadModel
from status_projector.store.event_store import EventStore
from wavecom_common.delivery.ledger import Ledger
from wavecom_common.events.outcomes import Delivered
from wavecom_common.storage import indexes
from wavecom_common.storage.client import Database
from wavecom_common.testing.waiting import eventually
from wavecom_fault.client import SteadyLoad
from wavecom_fault.judge import Judge
from wavecom_stack.infra import MONGODB_URL, Infra

from tests.fault.replica_set import ReplicaSet
from tests.fault.writers import deliver
from tests.system import System, dead_letters, running_system


@pytest.fixture
async def replica_set(tmp_path: Path) -> AsyncIterator[ReplicaSet]:
    replica_set = ReplicaSet(tmp_path)
    try:
        await replica_set.start()
        yield replica_set
    finally:
        replica_set.stop()


@pytest.mark.timeout(240)
async def test_nothing_acknowledged_is_lost_when_the_primary_is_killed(replica_set: ReplicaSet) -> None:
    database = Database(replica_set.url, "failover")
    await indexes.apply(database)
    ledger = Ledger(database, owner="a")
    store, model = EventStore(database), ReadModel(database)
    done: list[str] = []

    async def deliver_many() -> None:
        for _ in range(40):
            done.append(await deliver(ledger, store, model))

    load = [asyncio.create_task(deliver_many()) for _ in range(8)]
    await eventually(lambda: len(done) > 60, timeout_s=60)
    await replica_set.kill_primary()
    await asyncio.gather(*load)
    assert len(done) == 320
    folded = projection.fold([event async for event in store.stream()])
    stored = {notification_id: facts async for notification_id, facts in model.stream()}
    assert set(done) == set(stored) == set(folded)
    assert stored == folded
    found = await asyncio.gather(*[Ledger(database, owner="b").claim(f"{one}:1") for one in done[:50]])
    assert all(claim is not None and claim.outcome == Delivered("x") for claim in found)
    await database.close()


@pytest.mark.timeout(400)
async def test_every_process_goes_on_with_another_primary_and_none_is_started_again(
    replica_set: ReplicaSet, infra: Infra, management_url: str, tmp_path: Path
) -> None:
    more = {MONGODB_URL: replica_set.url, "WAVECOM_LEASE_S": "3"}
    with running_system(infra, management_url, tmp_path, name="failover", more=more) as system:
        address = urlsplit(system.api_url)
        load = SteadyLoad(str(address.hostname), int(address.port or 0), per_s=60, clients=8)
        ids, judge = load.accepted.ids, Judge(replica_set.url, system.database)
        before = pids(system)

        async def all_ended() -> bool:
            return await asyncio.to_thread(judge.open, ids) == 0

        load.start()
        for accepted in (60, 400):
            await eventually(lambda accepted=accepted: len(ids) > accepted, timeout_s=90)  # type: ignore[misc]
            # The one killed before is back, for two of three are needed.
            await replica_set.start()
            await replica_set.kill_primary()
        await eventually(lambda: len(ids) > 700, timeout_s=90, what="acceptance after two kills")
        unanswered = await load.stop(60)
        await eventually(all_ended, timeout_s=90, what="the end of all")

        left_over = await dead_letters(system.broker_url)
        verdict = await judge.verdict(ids, system.calls_file, left_over=left_over, unanswered=unanswered)
        judge.close()
        assert verdict.good, verdict
        assert pids(system) == before != {}


def pids(system: System) -> dict[str, str]:
    return {file.name: file.read_text() for file in system.folder.glob("*.pid")}
