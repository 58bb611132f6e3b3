"""Counting deliveries: the loop hands over what happened, this knows the metrics."""

from collections.abc import Iterable

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import types
from wavecom_common.events.outcomes import DeliveryOutcome
from wavecom_common.telemetry import metrics


def count_call(provider: str, outcome: DeliveryOutcome, seconds: float) -> None:
    """One provider call was made and took that long."""
    metrics.PROVIDER_SECONDS.record(seconds, {"provider": provider, "outcome": type(outcome).__name__})


def count_events(events: Iterable[Event]) -> None:
    """These events happened here, now (not: found in the ledger and told again)."""
    for event in events:
        labels = {"channel": event.channel, "priority": event.priority}
        if event.type == types.SENT:
            metrics.SENT.add(1, labels)
            metrics.POST_TO_SENT_SECONDS.record((event.occurred_at_ms - event.requested_at_ms) / 1000, labels)
        elif event.type == types.FAILED:
            metrics.FAILED.add(1, {**labels, "reason": event.failed.reason})
        elif event.type == types.RETRY_SCHEDULED:
            metrics.RETRIED.add(1, labels)
        elif event.type == types.OUTCOME_UNKNOWN:
            metrics.OUTCOME_UNKNOWN.add(1, labels)
