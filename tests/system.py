"""The whole system, for tests: all its processes on the session's broker and database."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pymongo import MongoClient
from wavecom_common.events import routing
from wavecom_common.events.channels import CHANNELS, PRIORITIES
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.topology import message_counts
from wavecom_common.testing.otlp import OtlpReceiver
from wavecom_stack.folder import RunFolder
from wavecom_stack.infra import MONGODB_URL, RABBITMQ_URL, Infra
from wavecom_stack.ports import free_ports, is_free
from wavecom_stack.stack import Stack
from wavecom_stack.testing import virtual_host
from wavecom_stack.up import start


@dataclass(frozen=True)
class System:
    """A running system: its addresses, its admin addresses by process, the spans it sends, its folder and database."""

    api_url: str
    broker_url: str
    admin_urls: dict[str, str]
    otlp: OtlpReceiver
    folder: Path
    calls_file: Path
    database: str


@contextmanager
def running_system(
    infra: Infra, management_url: str, folder: Path, *, name: str, more: Mapping[str, str]
) -> Iterator[System]:
    """A virtual host, a database and all processes of its own, fully traced; providers are instant and never fail.

    `more` is added to the environment.
    """
    otlp = OtlpReceiver()
    calls_file = folder / "calls.jsonl"
    # Copies take ports in a row.
    ports = (port for port in free_ports() if is_free(port + 1))
    database = f"{name}_{os.getpid()}"
    with virtual_host(infra, management_url) as broker_url:
        environment = {
            **os.environ,
            RABBITMQ_URL: broker_url,
            MONGODB_URL: infra.mongodb_url,
            "WAVECOM_MONGODB_DATABASE": database,
            "WAVECOM_HTTP_PORT": str(next(ports)),
            "WAVECOM_GRPC_PORT": str(next(ports)),
            "WAVECOM_SIMULATED_SUCCESS_RATE": "1",
            "WAVECOM_SIMULATED_MIN_DELAY_MS": "0",
            "WAVECOM_SIMULATED_MAX_DELAY_MS": "0",
            "WAVECOM_SIMULATED_CALLS_FILE": str(calls_file),
            "WAVECOM_RETRY_BASE_DELAY_S": "0.2",
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp.endpoint,
            "OTEL_TRACES_SAMPLER": "parentbased_always_on",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            **more,
        }
        stack = Stack(RunFolder(folder / "run"), environment, print)
        try:
            state = start(stack, print)
            yield System(state.api_url, broker_url, dict(state.admin_urls), otlp, folder / "run", calls_file, database)
        finally:
            stack.stop()
            otlp.stop()
            with MongoClient(infra.mongodb_url) as client:
                client.drop_database(database)


async def dead_letters(broker_url: str) -> int:
    """How many messages were given up, by any process."""
    queues = [routing.sender_queue(channel, priority) for channel in CHANNELS for priority in PRIORITIES]
    dead = [routing.dead_queue(one) for one in (*queues, routing.DISPATCHER_QUEUE, routing.PROJECTOR_QUEUE)]
    async with connected(broker_url, "test") as connection:
        counts = await message_counts(connection, dead)
    return sum(count or 0 for count in counts.values())
