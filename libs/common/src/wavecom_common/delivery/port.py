"""What a channel supplies: an adapter that makes one provider call and says how it went."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Attempt:
    """One provider call to make. An adapter sees nothing else of the system: no broker, no retries, no clock."""

    notification_id: str
    # Which try it is, from 1.
    number: int
    # The same for every call of this attempt: where a provider takes a key, it does nothing twice.
    dedup_key: str
    recipient: str
    message: str
    # E-mail only.
    subject: str | None


@dataclass(frozen=True, slots=True)
class Delivered:
    """The provider took it; `provider_message_id` is its own name for it, empty where it has none."""

    provider_message_id: str = ""


@dataclass(frozen=True, slots=True)
class TransientFailure:
    """It did not take effect, and may another time. `error` holds no address and no content."""

    error: str


@dataclass(frozen=True, slots=True)
class Throttled:
    """It did not take effect: the provider wants fewer calls, for at least `retry_after_s`."""

    error: str
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class PermanentFailure:
    """It did not and never will take effect. `error` holds no address and no content."""

    error: str


@dataclass(frozen=True, slots=True)
class UnknownOutcome:
    """It may or may not have taken effect: the link broke, or no answer came in time."""

    error: str


DeliveryOutcome = Delivered | TransientFailure | Throttled | PermanentFailure | UnknownOutcome


class Adapter(Protocol):
    """One provider of one channel."""

    @property
    def name(self) -> str:
        """The provider's name, for the timeline and the metrics."""
        ...

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        """Make the call. Many run at the same time. A failure is a value; an exception is taken for `UnknownOutcome`.

        When cancelled (the time-out, a stop) it ends at once; the outcome is then unknown.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
