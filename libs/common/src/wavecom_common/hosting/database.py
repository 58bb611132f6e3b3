"""The database as the settings say it is."""

from wavecom_common.hosting.settings import Settings
from wavecom_common.storage.client import OPERATION_TIMEOUT_S, Database


def database_of(
    settings: Settings, *, operation_timeout_s: float = OPERATION_TIMEOUT_S, only_answers: bool = False
) -> Database:
    """The database that the settings name; see `Database` for the rest.

    Raises:
        ConfigurationError: the URL is not one of MongoDB's.
    """
    return Database(
        settings.mongodb_url.get_secret_value(),
        settings.mongodb_database,
        operation_timeout_s=operation_timeout_s,
        write_concern=settings.mongodb_write_concern,
        only_answers=only_answers,
        tls_ca_file=settings.tls_ca_file,
        tls_cert_file=settings.tls_cert_file,
    )
