"""The components of both processes, put together."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from wavecom_common.events import routing
from wavecom_common.hosting import grpc_tls
from wavecom_common.hosting.database import database_of
from wavecom_common.hosting.held_reports import HeldReports
from wavecom_common.hosting.settings import LOOK_AGAIN_MS
from wavecom_common.kernel.component import Component
from wavecom_common.kernel.ids import new_owner
from wavecom_common.messaging import dead_letters
from wavecom_common.messaging.consumer import Consumer
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.storage.client import Database
from wavecom_common.storage.held_work import HeldWork
from wavecom_common.storage.payloads import Payloads

from status_projector.model.live_model import LiveModel
from status_projector.projector import Projector, give_up
from status_projector.query.read_your_writes import ReadYourWrites
from status_projector.query.server import QueryServer
from status_projector.query.servicer import StatusQuery
from status_projector.recovery.resender import Resender
from status_projector.recovery.sweeper import Limits, Sweeper
from status_projector.retention.late_events import LateEvents
from status_projector.retention.policy import Periods
from status_projector.retention.removal import Retention
from status_projector.retention.unstored import require_all_stored
from status_projector.settings import ProjectorSettings, QuerySettings
from status_projector.store.event_store import EventStore
from status_projector.store.sweeps import Sweeps

# A client waits for an answer, so a database that is away has to be told of soon.
_QUERY_TIMEOUT_S: Final = 3.0


def build_projector(settings: ProjectorSettings) -> Sequence[Component]:
    """A consumer of all events, the database, the publisher that dead-letters what it refuses, and the sweeper."""
    url = settings.broker_url
    database = database_of(settings)
    publisher = EventPublisher(url, name="status-projector", required_queues=[routing.retry_name(LOOK_AGAIN_MS)])
    store, model = EventStore(database), LiveModel(database)
    projector = Projector(
        store,
        model,
        max_events=settings.projector_max_events,
        linger_s=settings.projector_linger_ms / 1000,
        late=LateEvents(database),
    )
    consumer = Consumer(
        url,
        name="status-projector",
        queues=[routing.PROJECTOR_QUEUE],
        prefetch=settings.prefetch,
        handler=projector,
        publisher=publisher,
        retry_delay_ms=LOOK_AGAIN_MS,
        give_up=give_up,
        handler_traces=True,
    )
    resender = Resender(publisher, delays_ms=settings.broker_delays_ms, max_events=settings.batch_max_events)
    sweepers = [
        Sweeper(url, store, model, Sweeps(database), HeldWork(database), resender, limits)
        for limits in _limits(settings)
    ]
    owner = new_owner("status-projector")
    reports = HeldReports(consumer.held_messages, HeldWork(database), owner=owner)
    removal = retention(database, settings, owner=owner)
    # The consumer ends first: a sweep may take long, and may be cut short.
    watch = dead_letters.watch(url, name="status-projector")
    return [database, publisher, watch, *sweepers, removal, reports, projector, consumer]


def retention(database: Database, settings: ProjectorSettings, *, owner: str, rest: float = 1.0) -> Retention:
    """The removal of what is old: a component of the projector's process, and an operator's command."""
    stored = partial(require_all_stored, settings.broker_url, HeldWork(database))
    return Retention(database, periods(settings), require_all_stored=stored, owner=owner, rest=rest)


def periods(settings: ProjectorSettings) -> Periods:
    """How long notifications are kept."""
    return Periods.of_days(sent=settings.retention_sent_days, failed=settings.retention_failed_days)


def _limits(settings: ProjectorSettings) -> Sequence[Limits]:
    """Of the sweep for whatever stands still, and of the quicker one for requests that were not dispatched."""
    usual = Limits(
        after_s=settings.sweep_after_s,
        interval_s=settings.sweep_interval_s,
        most=settings.sweep_most,
        most_waiting=settings.sweep_most_waiting,
    )
    after_s = settings.sweep_requests_after_s
    return [usual, replace(usual, after_s=after_s, interval_s=after_s / 3, most_waiting=0, requests_only=True)]


def build_query(settings: QuerySettings) -> Sequence[Component]:
    """The database and the gRPC server that answers from it."""
    database = database_of(settings, operation_timeout_s=_QUERY_TIMEOUT_S, only_answers=True)
    read_your_writes = ReadYourWrites(
        window_s=settings.young_window_s, most_s=settings.young_wait_s, max_waiting=settings.young_max_waiting
    )
    servicer = StatusQuery(LiveModel(database), EventStore(database), Payloads(database), read_your_writes)
    server = QueryServer(
        servicer,
        database,
        host=settings.grpc_host,
        port=settings.grpc_port,
        reflects=settings.grpc_reflection,
        credentials=grpc_tls.server_credentials(settings),
    )
    return [database, server]
