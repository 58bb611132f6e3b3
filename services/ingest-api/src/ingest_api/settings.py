"""The settings of ingest-api, beside those every process has."""

from pydantic import Field, ValidationInfo, field_validator
from wavecom_common.hosting.settings import Settings

from ingest_api.channels.common import MAX_ATTEMPTS
from ingest_api.idempotency import CLIENT_HEADERS


class IngestSettings(Settings):
    """A name below is the variable `WAVECOM_<NAME>` in upper case; units are in the names."""

    http_host: str = "127.0.0.1"
    http_port: int = Field(3000, ge=0, le=65535)
    # Where status-query listens, in gRPC's naming: dns:///name:port is spread over all addresses of the name.
    status_query_target: str = Field("dns:///127.0.0.1:50051", min_length=1)
    # For requests that do not say.
    max_attempts: int = Field(3, ge=1, le=MAX_ATTEMPTS)
    # Comma-separated; * is every one.
    cors_origins: str = "*"
    tenant: str = Field("default", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    # Less than elsewhere: a client waits for it.
    batch_linger_ms: float = Field(20.0, ge=0, le=1000)
    # How long a request may wait for the broker's confirm before it is answered with 503.
    accept_timeout_s: float = Field(5.0, gt=0)
    # A notification whose message, subject and metadata are larger together is stored once; its events only name it.
    refer_above_bytes: int = Field(8_192, ge=0)
    # How long a repeated Idempotency-Key is answered with the first answer.
    idempotency_key_hours: float = Field(24.0, gt=0, le=24 * 365)
    # The headers that name a client, separated by commas: every client has idempotency keys of its own.
    client_headers: str = ",".join(CLIENT_HEADERS)
    # In notifications of one channel that wait: the first two are told in the log and the metrics, from the third on
    # its least urgent requests are refused; see `backlog`.
    backlog_warning: int = Field(5_000, ge=1)
    backlog_critical: int = Field(20_000, ge=1)
    backlog_emergency: int = Field(50_000, ge=1)

    @field_validator("backlog_critical", "backlog_emergency")
    @classmethod
    def _ascend(cls, value: int, info: ValidationInfo) -> int:
        below = "backlog_warning" if info.field_name == "backlog_critical" else "backlog_critical"
        if value < info.data.get(below, value):
            raise ValueError(f"must be at least {below}")
        return value

    @property
    def client_header_list(self) -> list[str]:
        """The headers one by one, in small letters."""
        return [name.strip().lower() for name in self.client_headers.split(",") if name.strip()]

    @property
    def cors_origin_list(self) -> list[str]:
        """The origins one by one."""
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]
