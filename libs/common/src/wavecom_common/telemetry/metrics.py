"""Every metric, with its name, unit and labels: the only place that spells them. Served in Prometheus form.

Labels are of few values (channel, priority, queue, reason): never an id, an address or an error's text.
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

# ingest-api
ACCEPTED: Final = Counter("wavecom_notifications_accepted", "Notifications accepted (201)", ["channel", "priority"])
# ingest-api
REFUSED: Final = Counter("wavecom_notifications_refused", "Requests answered with an error", ["reason"])
# ingest-api
ACCEPT_SECONDS: Final = Histogram(
    "wavecom_accept_duration_seconds", "From the start of a POST to its answer", ["status"], buckets=_SECONDS
)
# ingest-api
BACKLOG: Final = Gauge(
    "wavecom_backlog", "Notifications before a new one of the channel, estimated from the queues' messages", ["channel"]
)
# ingest-api
BACKLOG_LEVEL: Final = Gauge(
    "wavecom_backlog_level", "0 normal, 1 warning, 2 critical, 3 emergency: requests are refused", ["channel"]
)
# every process
HTTP_CONNECTIONS: Final = Gauge("wavecom_http_connections", "Open connections of an HTTP server", ["server"])
# every process
HTTP_HELD_BYTES: Final = Gauge(
    "wavecom_http_held_bytes", "Incomplete heads, unread answers and pipelined requests in memory", ["server", "what"]
)
# every process
HTTP_CUT: Final = Counter(
    "wavecom_http_connections_cut", "Connections ended because of a limit, by which", ["server", "reason"]
)
# ingest-api
REQUESTS_IN_FLIGHT: Final = Gauge("wavecom_http_requests_in_flight", "Requests being worked on", ["kind"])
# ingest-api
REQUEST_MEMORY_BYTES: Final = Gauge("wavecom_http_request_memory_bytes", "What POSTs hold in memory, estimated")
# ingest-api
WITHDRAWALS: Final = Counter(
    "wavecom_withdrawals",
    "Notifications of requests that were refused: withdrawn, claimed by a sender before, or dropped for want of room",
    ["result"],
)
# ingest-api
WITHDRAWALS_PENDING: Final = Gauge("wavecom_withdrawals_pending", "Notifications whose withdrawal is not done yet")
# senders
SENT: Final = Counter("wavecom_notifications_sent", "Notifications sent", ["channel", "priority"])
# senders and dispatcher
FAILED: Final = Counter(
    "wavecom_notifications_failed", "Notifications ended as failed", ["channel", "priority", "reason"]
)
# senders
RETRIED: Final = Counter(
    "wavecom_notifications_retried", "Attempts that failed and are retried", ["channel", "priority"]
)
# senders
OUTCOME_UNKNOWN: Final = Counter(
    "wavecom_deliveries_outcome_unknown",
    "Attempts whose earlier provider call may have taken effect",
    ["channel", "priority"],
)
# senders
POST_TO_SENT_SECONDS: Final = Histogram(
    "wavecom_post_to_sent_duration_seconds",
    "From acceptance to the provider's yes",
    ["channel", "priority"],
    buckets=_SECONDS,
)
# senders
PROVIDER_SECONDS: Final = Histogram(
    "wavecom_provider_duration_seconds", "Duration of a provider call", ["provider", "outcome"], buckets=_SECONDS
)
# senders
PROVIDER_UNAVAILABLE: Final = Gauge(
    "wavecom_provider_unavailable", "1 while deliveries wait and no connection to the provider can be had", ["provider"]
)
# senders
PROVIDER_CONNECTION_FAILURES: Final = Counter(
    "wavecom_provider_connection_failures", "Connections to a provider that could not be had", ["provider", "cause"]
)
# senders
PROVIDER_WAITING: Final = Gauge(
    "wavecom_provider_waiting", "Deliveries in flight that wait for a connection to the provider", ["provider"]
)
# every consumer
QUEUE_DEPTH: Final = Gauge("wavecom_queue_depth", "Messages ready in a queue this process reads", ["queue"])
# every consumer
DEAD_LETTERED: Final = Counter("wavecom_events_dead_lettered", "Events moved to a dead-letter queue", ["queue"])
# status-projector
DEAD_LETTERS: Final = Gauge("wavecom_dead_letters", "Messages that wait in a dead-letter queue", ["queue"])
# every consumer
HANDLER_RETRIES: Final = Counter("wavecom_events_handler_retries", "Events whose handling is retried", ["queue"])
# every consumer
REQUEUED: Final = Counter(
    "wavecom_messages_requeued",
    "Messages sent back to their queue because they came back too often",
    ["queue", "reason"],
)
# publisher, ledger and projector
BATCH_SIZE: Final = Histogram("wavecom_batch_size", "Items written together", ["what"], buckets=_SIZES)
# every publisher
COMPRESSED_FROM_BYTES: Final = Counter(
    "wavecom_compression_input_bytes", "Size of the messages that were compressed, before"
)
# every publisher
COMPRESSED_TO_BYTES: Final = Counter(
    "wavecom_compression_output_bytes", "Size of the messages that were compressed, after"
)
# projector
PROJECTOR_LAG_SECONDS: Final = Histogram(
    "wavecom_projector_lag_seconds", "From an event's occurrence to its place in the read model", buckets=_SECONDS
)
# sweeper
SWEPT: Final = Counter(
    "wavecom_sweeper_swept", "Notifications that stood still and were sent again out of the event store", ["kind"]
)
# retention
RETENTION_REMOVED: Final = Counter(
    "wavecom_retention_removed", "What was removed because its time was over, by kind", ["kind"]
)
# retention
RETENTION_LAG_SECONDS: Final = Gauge(
    "wavecom_retention_lag_seconds", "How long the time of the oldest that is not removed yet has been over", ["status"]
)
# projector
LATE_EVENTS: Final = Counter(
    "wavecom_projector_late_events", "Events left out because their notification was removed before"
)
# sweeper
OLDEST_STUCK_SECONDS: Final = Gauge(
    "wavecom_notifications_oldest_stuck_seconds",
    "How long ago the next step of the longest stuck notification was due; 0 when none is stuck",
)
