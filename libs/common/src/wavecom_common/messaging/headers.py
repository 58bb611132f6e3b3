"""The headers of our messages: what has to be known of a message when it comes again, and why it is a dead letter."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pamqp.common import FieldValue

FAILURES_HEADER: Final = "wavecom-failures"
SUSPECT_HEADER: Final = "wavecom-suspect"
# How often it came back before it was published anew; the broker counts from there.
RETURNS_HEADER: Final = "wavecom-returns"
# Of a message that an operator sent back: a sender orders a next attempt in place of one that was given up.
REPLAYED_HEADER: Final = "wavecom-replayed"
REASON_HEADER: Final = "wavecom-reason"
QUEUE_HEADER: Final = "wavecom-queue"
DEAD_AT_HEADER: Final = "wavecom-dead-at-ms"
# The broker's own count, of quorum queues. Source: https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling
DELIVERY_COUNT_HEADER: Final = "x-delivery-count"


@dataclass(frozen=True, slots=True)
class Past:
    """What happened to a message in earlier forms: it is published anew when it is sent back."""

    # How often handling its event raised; only a message of one event has failures.
    failures: int = 0
    # How often it came back for what may be its own fault.
    returns: int = 0
    # Whether it is handled with no other quarantined message in flight: it may be one that kills its handler.
    quarantined: bool = False
    # Whether an operator took it from the dead letters.
    replayed: bool = False


def past_of(headers: Mapping[str, object]) -> Past:
    """What the headers of a message say; what is no count counts as none."""
    return Past(
        failures=_count(headers.get(FAILURES_HEADER)),
        returns=_count(headers.get(RETURNS_HEADER)),
        quarantined=SUSPECT_HEADER in headers,
        replayed=REPLAYED_HEADER in headers,
    )


def headers_of(past: Past) -> dict[str, FieldValue]:
    """The headers that say it."""
    headers: dict[str, FieldValue] = {FAILURES_HEADER: past.failures}
    if past.returns:
        headers[RETURNS_HEADER] = past.returns
    if past.quarantined:
        headers[SUSPECT_HEADER] = 1
    if past.replayed:
        headers[REPLAYED_HEADER] = 1
    return headers


def delivery_count(headers: Mapping[str, object]) -> int:
    """How often the broker gave the message out before, in its present form."""
    return _count(headers.get(DELIVERY_COUNT_HEADER))


def _count(header: object) -> int:
    return header if isinstance(header, int) else 0
