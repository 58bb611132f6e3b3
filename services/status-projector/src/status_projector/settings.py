"""The settings of both processes of this package."""

from typing import Self

from pydantic import Field, field_validator, model_validator
from wavecom_common.hosting.settings import GrpcSettings, Settings
from wavecom_common.kernel.errors import ConfigurationError

from status_projector.retention.policy import DAY_MS, SHORTEST_MS


class ProjectorSettings(Settings):
    """The projector's: how many messages it holds, and how many of their events are written together."""

    # A message holds up to `batch_max_events` events, so this bounds what is held in memory.
    prefetch: int = Field(200, ge=1, le=2000)
    projector_max_events: int = Field(4000, ge=1, le=10_000)
    projector_linger_ms: float = Field(200.0, ge=0, le=1000)
    # A notification that stands still so long after its next step was due is sent again out of the event store.
    sweep_after_s: float = Field(300.0, gt=0)
    sweep_interval_s: float = Field(60.0, gt=0)
    # The same for a request that was not dispatched though its queue is empty; looked for three times as often.
    sweep_requests_after_s: float = Field(10.0, gt=0)
    # So many notifications at a time, by each copy of the process.
    sweep_most: int = Field(500, ge=1, le=10_000)
    # Nothing is sent to a queue in which more messages wait than this: what seems stuck may be among them.
    sweep_most_waiting: int = Field(100, ge=0)
    # Days after its acceptance, and its end, after which a notification is removed with all its events; 0 is never.
    retention_sent_days: float = Field(90.0, ge=0, le=36_500)
    retention_failed_days: float = Field(90.0, ge=0, le=36_500)

    @field_validator("retention_sent_days", "retention_failed_days")
    @classmethod
    def _is_never_or_a_day(cls, value: float) -> float:
        if 0 < value * DAY_MS < SHORTEST_MS:
            raise ValueError("must be 0, which is never, or at least 1")
        return value


class QuerySettings(GrpcSettings):
    """The query server's: where it listens, and how long it waits for a notification that was just accepted."""

    grpc_host: str = "127.0.0.1"
    grpc_port: int = Field(50051, ge=0, le=65535)
    # Whether clients may ask which services and messages there are; for development.
    grpc_reflection: bool = False
    # An id younger than the window is looked for again until the wait is over, by so many calls at a time.
    young_window_s: float = Field(10.0, ge=0, le=3600)
    young_wait_s: float = Field(2.0, ge=0, le=30)
    young_max_waiting: int = Field(200, ge=0, le=10_000)

    @model_validator(mode="after")
    def _has_a_certificate_to_serve(self) -> Self:
        if self.grpc_tls != "none" and self.tls_cert_file is None:
            raise ConfigurationError("WAVECOM_GRPC_TLS: a server with TLS needs WAVECOM_TLS_CERT_FILE")
        return self
