"""A database of the test's own, connected."""

from collections.abc import AsyncIterator

import pytest
from wavecom_common.storage import indexes
from wavecom_common.storage.client import Database


@pytest.fixture
async def database(mongodb_url: str, database_name: str) -> AsyncIterator[Database]:
    database = Database(mongodb_url, database_name)
    await database.start()
    await indexes.apply(database)
    yield database
    await database.close()
