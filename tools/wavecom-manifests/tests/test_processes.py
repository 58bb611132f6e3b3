"""What is said of the processes is what their wiring says."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import dispatcher.bootstrap
import ingest_api.bootstrap
import pytest
import status_projector.bootstrap
from dispatcher.settings import DispatcherSettings
from ingest_api.settings import IngestSettings
from status_projector.settings import ProjectorSettings, QuerySettings
from wavecom_common.channels.declaration import Channel
from wavecom_common.channels.registry import declared
from wavecom_common.delivery.simulated import SimulatedProvider
from wavecom_common.events import routing
from wavecom_common.hosting.sender import sender_components, settings_of
from wavecom_common.hosting.settings import Settings
from wavecom_common.kernel.component import Component
from wavecom_common.messaging import topology
from wavecom_common.messaging.consumer import Consumer
from wavecom_common.messaging.depths import QueueDepths
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.storage import names
from wavecom_manifests.processes import PROCESSES
from wavecom_stack.services import SERVICES


def _sender(channel: Channel) -> Sequence[Component]:
    settings = settings_of(channel)()
    return sender_components(channel.name, settings, SimulatedProvider(settings.simulation))


BUILDERS: dict[str, Callable[[], Sequence[Component]]] = {
    "ingest-api": lambda: ingest_api.bootstrap.build(IngestSettings()),
    "dispatcher": lambda: dispatcher.bootstrap.build(DispatcherSettings()),
    **{routing.sender_name(name): partial(_sender, channel) for name, channel in declared().items()},
    "status-projector": lambda: status_projector.bootstrap.build_projector(ProjectorSettings()),
    "status-query": lambda: status_projector.bootstrap.build_query(QuerySettings()),
}


def _of(components: Sequence[Component], kind: type[Any]) -> Iterator[Any]:
    return (component for component in components if isinstance(component, kind))


def test_every_process_of_the_system_is_known() -> None:
    assert set(PROCESSES) == {service.name for service in SERVICES}


@pytest.mark.parametrize("name", PROCESSES)
async def test_a_process_reads_and_asks_for_what_is_said_of_it(name: str) -> None:
    process, components = PROCESSES[name], BUILDERS[name]()
    reads = {queue for consumer in _of(components, Consumer) for queue in consumer._queues}
    required = {queue for publisher in _of(components, EventPublisher) for queue in publisher._channel._required_queues}
    watched = {queue for depths in _of(components, QueueDepths) for queue in depths._queues}
    said = set(process.asks_for)
    if process.uses_every_delay:
        said |= {routing.retry_name(delay_ms) for delay_ms in Settings().broker_delays_ms}
    for component in reversed(components):
        await component.close()
    assert reads == set(process.reads)
    assert (required | watched) - reads <= said
    assert process.uses_broker == any(True for _ in _of(components, EventPublisher))


def test_every_name_said_of_a_process_is_one_of_the_topology() -> None:
    planned = topology.plan(Settings().broker_delays_ms)
    queues = [queue.name for queue in planned.queues]
    known = {*planned.exchanges, *queues, *map(topology.migrating_name, queues)}
    for process in PROCESSES.values():
        assert {*process.reads, *process.asks_for, *process.publishes_to} <= known


def test_every_collection_has_a_process_that_writes_to_it() -> None:
    every = {
        names.EVENTS,
        *names.READ_MODELS,
        names.DELIVERIES,
        names.IDEMPOTENCY_KEYS,
        names.PAYLOADS,
        names.SWEEPS,
        names.HELD_WORK,
        names.RETENTION,
    }
    written = {
        collection
        for process in PROCESSES.values()
        for collection, actions in process.collections.items()
        if "insert" in actions
    }
    assert written == every
