"""The settings of sms-sender."""

from pydantic import Field
from wavecom_common.hosting.sender import SenderSettings


class SmsSenderSettings(SenderSettings):
    """The common ones, with this channel's simulated provider: 85% success, 100 to 300 ms."""

    simulated_success_rate: float = Field(default=0.85, ge=0, le=1)
    simulated_min_delay_ms: int = Field(default=100, ge=0)
    simulated_max_delay_ms: int = Field(default=300, ge=0)
