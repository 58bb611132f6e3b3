"""A broker and a database for copies of ingest-api of the test's own."""

import os
from pathlib import Path

import pytest
from wavecom_common.messaging import topology
from wavecom_common.storage import indexes
from wavecom_common.storage.client import Database

from tests.e2e.stage import Stage


@pytest.fixture
def planned() -> topology.Topology:
    """What is on the broker."""
    return topology.plan([1_000])


@pytest.fixture
async def stage(
    broker_url: str, mongodb_url: str, database_name: str, planned: topology.Topology, tmp_path: Path
) -> Stage:
    await topology.apply(broker_url, planned, settle_s=0)
    database = Database(mongodb_url, database_name)
    await indexes.apply(database)
    await database.close()
    environment = {
        **os.environ,
        "WAVECOM_RABBITMQ_URL": broker_url,
        "WAVECOM_MONGODB_URL": mongodb_url,
        "WAVECOM_MONGODB_DATABASE": database_name,
    }
    return Stage(broker_url, environment, tmp_path)
