"""The wiring: what the process is made of."""

from collections.abc import Sequence

from opentelemetry.instrumentation.grpc import aio_client_interceptors
from wavecom_common.events.routing import DISPATCHER_QUEUE, PROJECTOR_QUEUE
from wavecom_common.hosting.http import HttpServer
from wavecom_common.hosting.part import Part
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.telemetry import tracing

from ingest_api.accept import Acceptor
from ingest_api.app import create_app
from ingest_api.routes.create import CreateNotification
from ingest_api.settings import IngestSettings
from ingest_api.status_client import StatusClient


def build(settings: IngestSettings) -> Sequence[Part]:
    """The parts in their order of start. Ready for POSTs is ready: GETs may be down without taking the API away."""
    traced = tracing.wanted()
    publisher = EventPublisher(
        settings.rabbitmq_url.get_secret_value(),
        name="ingest-api",
        required_queues=(DISPATCHER_QUEUE, PROJECTOR_QUEUE),
        linger_s=settings.batch_linger_ms / 1000,
        max_events=settings.batch_max_events,
    )
    status_client = StatusClient(
        settings.status_query_target,
        tenant=settings.tenant,
        interceptors=aio_client_interceptors() if traced else None,  # type: ignore[no-untyped-call]
    )
    acceptor = Acceptor(
        publisher,
        SYSTEM_CLOCK,
        tenant=settings.tenant,
        default_max_attempts=settings.max_attempts,
        timeout_s=settings.accept_timeout_s,
    )
    app = create_app(
        CreateNotification(acceptor),
        status_client,
        SYSTEM_CLOCK,
        cors_origins=settings.cors_origin_list,
        traced=traced,
    )
    server = HttpServer(app, name="ingest-api", host=settings.http_host, port=settings.http_port)
    return [publisher, status_client, server]
