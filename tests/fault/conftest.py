"""A broker and a database for a sender of the test's own."""

import os
from pathlib import Path

import pytest
from wavecom_common.messaging import topology
from wavecom_common.storage import indexes
from wavecom_common.storage.client import Database

from tests.fault.stage import DELAYS_MS, Stage


@pytest.fixture
async def stage(broker_url: str, mongodb_url: str, database_name: str, tmp_path: Path) -> Stage:
    await topology.apply(broker_url, topology.plan(DELAYS_MS), settle_s=0)
    database = Database(mongodb_url, database_name)
    await indexes.apply(database)
    await database.close()
    environment = {
        **os.environ,
        "WAVECOM_RABBITMQ_URL": broker_url,
        "WAVECOM_MONGODB_URL": mongodb_url,
        "WAVECOM_MONGODB_DATABASE": database_name,
        "WAVECOM_RETRY_BASE_DELAY_S": "0.2",
        "WAVECOM_RETRY_LEVELS": "3",
        "WAVECOM_LEASE_S": "1.5",
        "WAVECOM_SIMULATED_MIN_DELAY_MS": "200",
        "WAVECOM_SIMULATED_MAX_DELAY_MS": "200",
        "WAVECOM_SIMULATED_CALLS_FILE": str(tmp_path / "calls"),
    }
    return Stage(broker_url, environment, tmp_path)
