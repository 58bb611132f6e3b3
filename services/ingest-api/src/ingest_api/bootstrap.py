"""The wiring: what the process is made of."""

from collections.abc import Sequence

from wavecom_common.delivery.withdrawals import Withdrawals as WithdrawalStore
from wavecom_common.events.routing import DISPATCHER_QUEUE, PROJECTOR_QUEUE
from wavecom_common.hosting import grpc_tls
from wavecom_common.hosting.database import database_of
from wavecom_common.hosting.http import HttpServer
from wavecom_common.hosting.http_limits import HttpLimits
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.component import Component
from wavecom_common.messaging.depths import QueueDepths
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.messaging.stalling import STALL_LIMIT_S
from wavecom_common.storage.payloads import Payloads
from wavecom_common.telemetry import rpc, tracing

from ingest_api.accept import Acceptor
from ingest_api.app import create_app
from ingest_api.backlog import QUEUES, Backlog, Thresholds
from ingest_api.idempotency.keys import IdempotencyKeys
from ingest_api.intake import Intake
from ingest_api.keyed import IdempotentRequests
from ingest_api.readiness import NotNeededToBeReady
from ingest_api.settings import IngestSettings
from ingest_api.status_client import StatusClient
from ingest_api.withdrawals import Withdrawals


def build(settings: IngestSettings) -> Sequence[Component]:
    """The parts in their order of start.

    Ready for small POSTs without an Idempotency-Key is ready: large ones and those with one need the database and GETs
    the query service, and they are answered with 503 without them; nothing of that is a reason to take the API away
    from everybody.
    """
    traced = tracing.wanted()
    publisher = EventPublisher(
        settings.broker_url,
        name="ingest-api",
        required_queues=(DISPATCHER_QUEUE, PROJECTOR_QUEUE),
        linger_s=settings.batch_linger_ms / 1000,
        max_events=settings.batch_max_events,
        # A client is answered with 503 by then.
        stall_limit_s=min(settings.accept_timeout_s, STALL_LIMIT_S),
    )
    status_client = StatusClient(
        settings.status_query_target,
        tenant=settings.tenant,
        interceptors=[rpc.ClientSpans()] if traced else None,
        credentials=grpc_tls.channel_credentials(settings),
    )
    database = database_of(settings)
    keys = IdempotencyKeys(
        database,
        keep_ms=round(settings.idempotency_key_hours * 3_600_000),
        timeout_s=settings.accept_timeout_s,
    )
    backlog = Backlog(
        Thresholds(settings.backlog_warning, settings.backlog_critical, settings.backlog_emergency),
        lambda: (publisher.messages_published, publisher.events_published),
    )
    depths = QueueDepths(settings.broker_url, name="ingest-api", queues=QUEUES, on_look=backlog.look)
    withdrawals = Withdrawals(WithdrawalStore(database), publisher, SYSTEM_CLOCK)
    acceptor = Acceptor(
        publisher,
        Payloads(database),
        withdrawals,
        backlog,
        SYSTEM_CLOCK,
        tenant=settings.tenant,
        default_max_attempts=settings.max_attempts,
        timeout_s=settings.accept_timeout_s,
        refer_above_bytes=settings.refer_above_bytes,
    )
    app = create_app(
        acceptor,
        IdempotentRequests(acceptor, withdrawals, keys, SYSTEM_CLOCK, settings.client_header_list),
        status_client,
        SYSTEM_CLOCK,
        cors_origins=settings.cors_origin_list,
        allowed_hosts=settings.allowed_host_list,
        intake=Intake(settings.request_memory_bytes),
        traced=traced,
    )
    limits = HttpLimits(connections=settings.max_connections)
    server = HttpServer(app, name="ingest-api", host=settings.http_host, port=settings.http_port, limits=limits)
    return [publisher, depths, NotNeededToBeReady(database), withdrawals, status_client, server]
