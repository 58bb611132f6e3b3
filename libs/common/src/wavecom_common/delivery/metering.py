"""Counting deliveries: the loop hands over what happened, this knows the metrics."""

from collections.abc import Iterable

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import types
from wavecom_common.events.outcomes import DeliveryOutcome
from wavecom_common.telemetry import metrics


def count_call(provider: str, outcome: DeliveryOutcome, seconds: float) -> None:
    """One provider call was made and took that long."""
    metrics.PROVIDER_SECONDS.labels(provider, type(outcome).__name__).observe(seconds)


def count_events(events: Iterable[Event]) -> None:
    """These events happened here, now (not: found in the ledger and told again)."""
    for event in events:
        labels = event.channel, event.priority
        if event.type == types.SENT:
            metrics.SENT.labels(*labels).inc()
            metrics.POST_TO_SENT_SECONDS.labels(*labels).observe((event.occurred_at_ms - event.requested_at_ms) / 1000)
        elif event.type == types.FAILED:
            metrics.FAILED.labels(*labels, event.failed.reason).inc()
        elif event.type == types.RETRY_SCHEDULED:
            metrics.RETRIED.labels(*labels).inc()
        elif event.type == types.OUTCOME_UNKNOWN:
            metrics.OUTCOME_UNKNOWN.labels(*labels).inc()
