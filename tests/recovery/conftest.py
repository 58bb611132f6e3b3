"""A broker, a database and processes of the test's own."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from status_projector.model.read_model import ReadModel
from status_projector.recovery.checker import Checker, Report
from status_projector.store.event_store import EventStore
from wavecom_common.messaging import topology
from wavecom_common.storage import indexes
from wavecom_common.storage.client import Database
from wavecom_common.testing.processes import running

from tests.recovery.own_stack import Own, own_stack

DELAYS_MS = [200, 400, 800, 1000]


@dataclass(frozen=True)
class Stage:
    """Where processes are put."""

    broker_url: str
    database: Database
    environment: dict[str, str]
    folder: Path

    def process(self, *command: str | Path) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        """`python <command>`, told to stop at the end if it still runs."""
        return running(*command, environment=self.environment, log=self.folder / "log")

    async def check(self) -> Report:
        """Compare model and store as they are now."""
        return await Checker(EventStore(self.database), ReadModel(self.database), settle_s=0).run()


@pytest.fixture
async def stage(broker_url: str, mongodb_url: str, database_name: str, tmp_path: Path) -> AsyncIterator[Stage]:
    await topology.apply(broker_url, topology.plan(DELAYS_MS), settle_s=0)
    database = Database(mongodb_url, database_name)
    await indexes.apply(database)
    environment = {
        **os.environ,
        "WAVECOM_RABBITMQ_URL": broker_url,
        "WAVECOM_MONGODB_URL": mongodb_url,
        "WAVECOM_MONGODB_DATABASE": database_name,
        "WAVECOM_RETRY_BASE_DELAY_S": "0.2",
        "WAVECOM_RETRY_LEVELS": "3",
        # The notifications of these tests are years old.
        "WAVECOM_RETENTION_SENT_DAYS": "0",
        "WAVECOM_RETENTION_FAILED_DAYS": "0",
    }
    yield Stage(broker_url, database, environment, tmp_path)
    await database.close()


@pytest.fixture
def more() -> dict[str, str]:
    """Settings of a stack of the test's own; a test module may have others."""
    return {}


@pytest.fixture
def started(mongodb_url: str, database_name: str, tmp_path: Path, more: dict[str, str]) -> Iterator[Own]:
    with own_stack(mongodb_url, database_name, tmp_path, more) as own:
        yield own


@pytest.fixture
async def own(started: Own) -> AsyncIterator[Own]:
    yield started
    await started.database.close()
