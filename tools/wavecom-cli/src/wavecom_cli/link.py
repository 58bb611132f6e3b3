"""The database, for as long as a command runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wavecom_common.hosting.settings import Settings
from wavecom_common.storage.client import Database


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[Database]:
    """The database the settings name, closed at the end."""
    link = Database(settings.mongodb_url.get_secret_value(), settings.mongodb_database)
    try:
        yield link
    finally:
        await link.close()
