"""The settings of push-sender."""

from pydantic import Field
from wavecom_common.hosting.sender import SenderSettings


class PushSenderSettings(SenderSettings):
    """The common ones, with this channel's simulated provider: 95% success, 50 to 150 ms."""

    simulated_success_rate: float = Field(default=0.95, ge=0, le=1)
    simulated_min_delay_ms: int = Field(default=50, ge=0)
    simulated_max_delay_ms: int = Field(default=150, ge=0)
