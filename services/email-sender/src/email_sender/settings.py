"""The settings of email-sender."""

from typing import Literal

from pydantic import Field, SecretStr
from wavecom_common.hosting.sender import SenderSettings


class EmailSenderSettings(SenderSettings):
    """The common ones, this channel's simulated provider (90 % success, 200 to 500 ms), and SMTP."""

    # Not `provider`: every process sees the same environment.
    email_provider: Literal["simulated", "smtp"] = "simulated"
    simulated_success_rate: float = Field(default=0.90, ge=0, le=1)
    simulated_min_delay_ms: int = Field(default=200, ge=0)
    simulated_max_delay_ms: int = Field(default=500, ge=0)

    smtp_host: str = "127.0.0.1"
    smtp_port: int = Field(default=25, ge=1, le=65535)
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    smtp_tls: Literal["none", "starttls", "tls"] = "none"
    # The sender's address, and the domain of every Message-ID.
    smtp_from: str = Field(default="notifications@localhost", pattern=r"^[^@\s<>]+@[^@\s<>]+$")
    # Connections kept open; each sends one mail at a time.
    smtp_connections: int = Field(default=8, ge=1, le=100)
