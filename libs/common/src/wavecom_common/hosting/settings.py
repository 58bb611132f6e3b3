"""Settings every process has, from the environment (`WAVECOM_...`), checked at start."""

from typing import Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from wavecom_common.events import codec
from wavecom_common.hosting import tls
from wavecom_common.kernel.backoff import retry_delay_ms
from wavecom_common.kernel.errors import ConfigurationError
from wavecom_common.messaging.nodes import nodes_of
from wavecom_common.storage.client import MAJORITY, WriteConcern

# An event that comes too early, or whose handling failed, is looked at again after this wait.
LOOK_AGAIN_MS = 1_000


class Settings(BaseSettings):
    """The common ones. A name below is the variable `WAVECOM_<NAME>` in upper case; units are in the names."""

    model_config = SettingsConfigDict(env_prefix="WAVECOM_", extra="ignore", frozen=True)

    # Secret because a URL may hold a password: its text appears in no log and no error.
    rabbitmq_url: SecretStr = SecretStr("amqp://guest:guest@127.0.0.1:5672/")
    mongodb_url: SecretStr = SecretStr("mongodb://127.0.0.1:27017/?directConnection=true")
    mongodb_database: str = Field("wavecom", min_length=1, max_length=38)
    # See `storage.client.WriteConcern`: anything but the default gives up what is promised.
    mongodb_write_concern: WriteConcern = MAJORITY
    # Certificates of the authorities that servers are checked by, the system's when unset; and a certificate of our own
    # with its key, in one file. For every link that uses TLS: an amqps:// URL, tls=true in MongoDB's, SMTP, gRPC.
    tls_ca_file: str | None = None
    tls_cert_file: str | None = None
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    # Liveness, readiness and metrics; port 0 is any free one, told in the log.
    admin_host: str = "127.0.0.1"
    admin_port: int = Field(0, ge=0, le=65535)
    drain_timeout_s: float = Field(20.0, ge=0)
    pid_file: str | None = None

    # The wait after attempt n is base * 2^(n-1), for as many levels as there are queues to wait in.
    retry_base_delay_s: float = Field(5.0, ge=0.01)
    retry_levels: int = Field(9, ge=1, le=12)

    # Events of one routing key leave together when they come within this time of each other; the first after a quiet
    # moment leaves at once.
    batch_linger_ms: float = Field(100.0, ge=0, le=1000)
    batch_max_events: int = Field(100, ge=1, le=codec.MAX_EVENTS)

    @field_validator("rabbitmq_url")
    @classmethod
    def _names_nodes(cls, url: SecretStr) -> SecretStr:
        nodes_of(url.get_secret_value())
        return url

    @field_validator("tls_ca_file")
    @classmethod
    def _holds_authorities(cls, path: str | None) -> str | None:
        if path is not None:
            tls.check_ca_file(path)
        return path

    @field_validator("tls_cert_file")
    @classmethod
    def _holds_certificate_and_key(cls, path: str | None) -> str | None:
        if path is not None:
            tls.check_cert_file(path)
        return path

    @property
    def broker_url(self) -> str:
        """The broker's URL with the certificates to use. It may hold a password."""
        url = self.rabbitmq_url.get_secret_value()
        return tls.broker_url(url, ca_file=self.tls_ca_file, cert_file=self.tls_cert_file)

    @property
    def retry_delays_ms(self) -> list[int]:
        """The wait after each failed attempt, from the first on; the last stands for all that follow."""
        base_ms = round(self.retry_base_delay_s * 1000)
        return [retry_delay_ms(attempt, base_ms) for attempt in range(1, self.retry_levels + 1)]

    @property
    def broker_delays_ms(self) -> list[int]:
        """Every wait the broker must be able to hold."""
        return sorted({LOOK_AGAIN_MS, *self.retry_delays_ms})

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            ConfigurationError: a value is missing or wrong; its text is one line that names the variable and the fix.
        """
        try:
            return cls()
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            variable = "WAVECOM_" + "_".join(str(part) for part in first["loc"]).upper()
            raise ConfigurationError(f"{variable}: {first['msg']}") from None


class GrpcSettings(Settings):
    """Of both ends of the link between ingest-api and status-query."""

    # `tls` checks the server, `mutual` both ends; the same at both.
    grpc_tls: tls.GrpcTls = "none"

    @model_validator(mode="after")
    def _has_what_mutual_needs(self) -> Self:
        if self.grpc_tls == "mutual" and not (self.tls_ca_file and self.tls_cert_file):
            raise ConfigurationError("WAVECOM_GRPC_TLS: mutual needs WAVECOM_TLS_CA_FILE and WAVECOM_TLS_CERT_FILE")
        return self


AnySettings = TypeVar("AnySettings", bound=Settings)
