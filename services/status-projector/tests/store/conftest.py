"""A database of the test's own with every index."""

import pytest
from wavecom_common.storage import indexes
from wavecom_common.storage.client import Database


@pytest.fixture
async def database(database: Database) -> Database:
    await indexes.apply(database)
    return database
