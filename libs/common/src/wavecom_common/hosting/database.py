"""The database as the settings say it is."""

from wavecom_common.hosting.settings import Settings
from wavecom_common.storage.client import OPERATION_TIMEOUT_S, Database


def database_of(settings: Settings, *, operation_timeout_s: float = OPERATION_TIMEOUT_S) -> Database:
    """The database that the settings name.

    Raises:
        ConfigurationError: the URL is not one of MongoDB's.
    """
    return Database(
        settings.mongodb_url.get_secret_value(),
        settings.mongodb_database,
        operation_timeout_s=operation_timeout_s,
        write_concern=settings.mongodb_write_concern,
    )
