"""What a channel supplies: an adapter that makes one provider call and says how it went."""

from dataclasses import dataclass
from typing import Protocol

from wavecom_common.events.outcomes import DeliveryOutcome


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
