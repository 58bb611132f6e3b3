"""Every metric, with its name, unit and labels: the only place that spells them. Served in Prometheus form.

Labels are of few values (channel, priority, queue, reason): never an id, an address or an error's text.
"""

from typing import Final

from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import SERVICE_NAME, Resource

_meter = metrics.get_meter("wavecom")

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

# ingest-api, by: channel, priority
ACCEPTED = _meter.create_counter("wavecom.notifications.accepted", description="Notifications accepted (201)")
# ingest-api, by: reason
REFUSED = _meter.create_counter("wavecom.notifications.refused", description="Requests answered with an error")
# ingest-api, by: status
ACCEPT_SECONDS = _meter.create_histogram(
    "wavecom.accept.duration",
    unit="s",
    description="From the start of a POST to its answer",
    explicit_bucket_boundaries_advisory=_SECONDS,
)
# ingest-api
BACKLOG = _meter.create_gauge(
    "wavecom.backlog", description="Notifications waiting in the work queues, estimated from the queues' messages"
)
# ingest-api
BACKLOG_LEVEL = _meter.create_gauge(
    "wavecom.backlog.level", description="0 normal, 1 warning, 2 critical, 3 emergency: requests are refused"
)
# senders, by: channel, priority
SENT = _meter.create_counter("wavecom.notifications.sent", description="Notifications sent")
# senders and dispatcher, by: channel, priority, reason
FAILED = _meter.create_counter("wavecom.notifications.failed", description="Notifications ended as failed")
# senders, by: channel, priority
RETRIED = _meter.create_counter("wavecom.notifications.retried", description="Attempts that failed and are retried")
# senders, by: channel, priority
OUTCOME_UNKNOWN = _meter.create_counter(
    "wavecom.deliveries.outcome_unknown", description="Attempts whose earlier provider call may have taken effect"
)
# senders, by: channel, priority
POST_TO_SENT_SECONDS = _meter.create_histogram(
    "wavecom.post_to_sent.duration",
    unit="s",
    description="From acceptance to the provider's yes",
    explicit_bucket_boundaries_advisory=_SECONDS,
)
# senders, by: provider, outcome
PROVIDER_SECONDS = _meter.create_histogram(
    "wavecom.provider.duration",
    unit="s",
    description="Duration of a provider call",
    explicit_bucket_boundaries_advisory=_SECONDS,
)
# every consumer, by: queue
QUEUE_DEPTH = _meter.create_gauge("wavecom.queue.depth", description="Messages ready in a queue this process reads")
# every consumer, by: queue, reason
DEAD_LETTERED = _meter.create_counter("wavecom.events.dead_lettered", description="Events moved to a dead-letter queue")
# every consumer, by: queue
HANDLER_RETRIES = _meter.create_counter(
    "wavecom.events.handler_retries", description="Events whose handling is retried"
)
# publisher, ledger and projector, by: what
BATCH_SIZE = _meter.create_histogram(
    "wavecom.batch.size", description="Items written together", explicit_bucket_boundaries_advisory=_SIZES
)
# projector
PROJECTOR_LAG_SECONDS = _meter.create_histogram(
    "wavecom.projector.lag",
    unit="s",
    description="From an event's occurrence to its place in the read model",
    explicit_bucket_boundaries_advisory=_SECONDS,
)
# sweeper, by: kind
SWEPT = _meter.create_counter(
    "wavecom.sweeper.swept", description="Notifications that stood still and were sent again out of the event store"
)
# sweeper
OLDEST_STUCK_SECONDS = _meter.create_gauge(
    "wavecom.notifications.oldest_stuck",
    unit="s",
    description="How long ago the next step of the longest stuck notification was due; 0 when none is stuck",
)


def setup(service: str) -> MeterProvider:
    """Start collecting; what is collected is read through prometheus_client's default registry."""
    provider = MeterProvider(
        metric_readers=[PrometheusMetricReader()],
        resource=Resource.create({SERVICE_NAME: service, "service.namespace": "wavecom"}),
    )
    metrics.set_meter_provider(provider)
    return provider
