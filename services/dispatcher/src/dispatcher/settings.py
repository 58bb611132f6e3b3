"""The dispatcher's settings."""

from pydantic import Field
from wavecom_common.hosting.settings import Settings


class DispatcherSettings(Settings):
    """The common ones, and how many messages are in work at once; each has up to `batch_max_events` events."""

    prefetch: int = Field(default=64, ge=1, le=2000)
