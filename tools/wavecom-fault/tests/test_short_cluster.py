"""The short form of the faults of a cluster: three broker nodes, one of each process, the session's database."""

from pathlib import Path

import pytest
from wavecom_fault.cluster_matrix import Blow, Plan
from wavecom_fault.cluster_run import run_cluster
from wavecom_fault.cluster_start import Shape

# So long the frozen node stands still that the others take it for dead.
PLANS = [Plan(Blow.LEADER_KILLED, 1.0, 8.0), Plan(Blow.FOLLOWER_FROZEN, 1.0, 15.0)]


@pytest.mark.timeout(400)
async def test_two_of_three_broker_nodes_go_on_and_nothing_is_lost(
    mongodb_url: str, database_name: str, tmp_path: Path
) -> None:
    shape = Shape(copies=1, mongodb_url=mongodb_url, database=database_name)
    result = await run_cluster(0, PLANS, tmp_path, print, rate=20, shape=shape)
    assert [row.fault for row in result.rows] == ["leader killed", "follower frozen"]
    assert all(row.accepted > 50 for row in result.rows), result
    assert result.good, result
