"""The settings of ingest-api, beside those every process has."""

import ipaddress

from pydantic import Field, ValidationInfo, field_validator
from wavecom_common.channels.request import MAX_ATTEMPTS
from wavecom_common.events import codec
from wavecom_common.hosting.http_limits import HttpLimits
from wavecom_common.hosting.settings import GrpcSettings
from wavecom_common.storage.indexes import LEDGER_SURE_DAYS

from ingest_api.access import HOST_PATTERN, LOOPBACK_HOSTS, ORIGIN_PATTERN
from ingest_api.idempotency.header import CLIENT_HEADERS
from ingest_api.intake import MAX_MEMORY_BYTES, MIB


class IngestSettings(GrpcSettings):
    """A name below is the variable `WAVECOM_<NAME>` in upper case; units are in the names."""

    http_host: str = "127.0.0.1"
    http_port: int = Field(3000, ge=0, le=65535)
    # Where status-query listens, in gRPC's naming: dns:///name:port is spread over all addresses of the name.
    status_query_target: str = Field("dns:///127.0.0.1:50051", min_length=1)
    # For requests that do not say.
    max_attempts: int = Field(3, ge=1, le=MAX_ATTEMPTS)
    # Comma-separated. The hosts that requests may name, beside the address listened on; see `access`.
    allowed_hosts: str = ",".join(LOOPBACK_HOSTS)
    # Comma-separated. The origins whose web pages may call; see `access`.
    cors_origins: str = ""
    # Connections open at once, each of up to about 10 KB when idle and 32 KB with a request.
    max_connections: int = Field(HttpLimits().connections, ge=100, le=1_000_000)
    # What POSTs may hold in memory together, by an estimate; see `intake`. A batch of 4 MiB takes 15 MB.
    request_memory_bytes: int = Field(MAX_MEMORY_BYTES, ge=64 * MIB)
    tenant: str = Field("default", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    # Less than elsewhere: a client waits for it.
    batch_linger_ms: float = Field(20.0, ge=0, le=1000)
    # How long a request may wait for the broker's confirm before it is answered with 503.
    accept_timeout_s: float = Field(5.0, gt=0)
    # A notification whose message, subject and metadata are larger together is stored once; its events only name it.
    refer_above_bytes: int = Field(8_192, ge=0)
    # How long a repeated Idempotency-Key is answered with the first answer. A key without one publishes again, and the
    # delivery ledger keeps that from being sent again, for as long as it is sure to remember.
    idempotency_key_hours: float = Field(24.0, gt=0, le=LEDGER_SURE_DAYS * 24)
    # The headers that name a client, separated by commas: every client has idempotency keys of its own.
    client_headers: str = ",".join(CLIENT_HEADERS)
    # In notifications of one channel that wait: the first two are told in the log and the metrics, from the third on
    # its least urgent requests are refused; see `backlog`.
    backlog_warning: int = Field(5_000, ge=1)
    backlog_critical: int = Field(20_000, ge=1)
    backlog_emergency: int = Field(50_000, ge=1)

    @field_validator("refer_above_bytes")
    @classmethod
    def _fits_a_message(cls, value: int) -> int:
        most = codec.MAX_MESSAGE_BYTES // 2
        if value > most:
            raise ValueError(
                f"must be at most {most}, half of a message's {codec.MAX_MESSAGE_BYTES} bytes (events.codec)"
            )
        return value

    @field_validator("backlog_critical", "backlog_emergency")
    @classmethod
    def _ascend(cls, value: int, info: ValidationInfo) -> int:
        below = "backlog_warning" if info.field_name == "backlog_critical" else "backlog_critical"
        if value < info.data.get(below, value):
            raise ValueError(f"must be at least {below}")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        for name in _listed(value):
            if not HOST_PATTERN.fullmatch(name):
                raise ValueError("must be host names without scheme and port, such as api.example.com or *.example.com")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in _listed(value):
            if not ORIGIN_PATTERN.fullmatch(origin):
                raise ValueError("must be origins without a path, such as https://www.example.com")
        return value

    @property
    def client_header_list(self) -> list[str]:
        """The headers one by one, in small letters."""
        return [name.lower() for name in _listed(self.client_headers)]

    @property
    def cors_origin_list(self) -> list[str]:
        """The origins one by one."""
        return _listed(self.cors_origins)

    @property
    def allowed_host_list(self) -> list[str]:
        """The hosts one by one, with the address listened on where that is one address."""
        return [*_listed(self.allowed_hosts), *_address_as_host(self.http_host)]


def _listed(value: str) -> list[str]:
    return [one.strip() for one in value.split(",") if one.strip()]


def _address_as_host(address: str) -> list[str]:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return [address]
    if parsed.is_unspecified:
        return []
    return [f"[{address}]" if parsed.version == 6 else address]
