"""How a provider call ended: plain values, made by an adapter, kept by the ledger, judged by the delivery policy."""

from dataclasses import dataclass
from math import isfinite
from typing import Final

# Of what a provider says. It is stored with the outcome, published and shown in the timeline.
MAX_TEXT_CHARACTERS: Final = 500


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


@dataclass(frozen=True, slots=True)
class GivenUp:
    """No sender could handle the attempt. Said by a sender, never by an adapter."""

    error: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Its request was refused before a sender claimed it: no call was made. Said by the API, never by an adapter."""

    error: str


DeliveryOutcome = Delivered | TransientFailure | Throttled | PermanentFailure | UnknownOutcome | GivenUp | Withdrawn


def checked(told: object) -> DeliveryOutcome:
    """What an adapter returned, as something that can be stored and told: an adapter is not ours to trust.

    What is no outcome, or holds something else than it says, is an unknown outcome: the call was made. Text that is not
    Unicode is mended, what is longer than `MAX_TEXT_CHARACTERS` is cut off, and a wait that is no number of seconds is
    left out.
    """
    if not isinstance(told, DeliveryOutcome):
        return UnknownOutcome(f"the adapter returned {type(told).__name__}, which is no outcome")
    text: object = told.provider_message_id if isinstance(told, Delivered) else told.error
    if not isinstance(text, str):
        return UnknownOutcome(f"the adapter's {type(told).__name__} holds no text")
    mended = text[:MAX_TEXT_CHARACTERS].encode("utf-8", "replace").decode()
    if isinstance(told, Throttled):
        wait_s = told.retry_after_s
        return Throttled(mended, wait_s) if _is_a_time(wait_s) else TransientFailure(mended)
    return told if mended == text else type(told)(mended)


def _is_a_time(seconds: object) -> bool:
    return isinstance(seconds, int | float) and isfinite(seconds)
