"""How a provider call ended: plain values, made by an adapter, kept by the ledger, judged by the delivery policy."""

from dataclasses import dataclass


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
