"""Who may call the provider for an attempt: the decision, apart from where claims are kept.

A claim is made before the call and holds a lease that its owner renews while it works. What a message for an attempt
finds decides what its sender does; see `decide`.
"""

from dataclasses import dataclass

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.delivery.ledger import Claim
from wavecom_common.events import types
from wavecom_common.events.outcomes import DeliveryOutcome


def attempt_key(event: Event) -> str:
    """The ledger's key of the attempt that `event` orders; what orders none has one that no attempt has."""
    return f"{event.notification_id}:{event.attempt}" if event.type == types.DISPATCHED else event.event_id


@dataclass(frozen=True, slots=True)
class Call:
    """The attempt is ours, and nobody tried before: call the provider."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Somebody claimed it and died before the outcome was stored: the effect is unknown."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """The outcome is stored: publish it again, do not call."""

    outcome: DeliveryOutcome
    ended_at_ms: int


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Somebody is at it: look again later. Never drop it, for the owner may have died with its message."""


Decision = Call | Resume | Repeat | LookAgain


def decide(found: Claim | None, *, owner: str, now_ms: int) -> Decision:
    """What `owner` does about an attempt, given the claim that was there before its own (None: its own is the first).

    It asks only for attempts that are not in flight here, so a claim of its own without an outcome was made by a write
    whose answer was lost: nothing was called under it.
    """
    if found is None:
        return Call()
    if found.outcome is not None:
        return Repeat(found.outcome, found.ended_at_ms)
    if found.owner == owner:
        return Resume() if found.taken_over else Call()
    return LookAgain() if found.lease_until_ms > now_ms else Resume()
