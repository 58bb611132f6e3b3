"""The database, for as long as a command runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wavecom_common.hosting.database import database_of
from wavecom_common.hosting.settings import Settings
from wavecom_common.storage.client import Database


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[Database]:
    """The database the settings name, closed at the end."""
    link = database_of(settings)
    try:
        yield link
    finally:
        await link.close()
