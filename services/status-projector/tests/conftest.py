"""A database of the test's own, connected, and a bench with a broker of its own."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from status_projector.model.live_model import LiveModel
from status_projector.projector import Projector
from status_projector.queues import depths
from status_projector.store.event_store import EventStore
from wavecom_common.events import routing
from wavecom_common.messaging import topology
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.storage import indexes
from wavecom_common.storage.client import Database
from wavecom_common.testing.broker import publishing, taken
from wavecom_common.testing.builders import NOW_MS
from wavecom_proto.v1.events_pb2 import Event


@pytest.fixture
async def database(mongodb_url: str, database_name: str) -> AsyncIterator[Database]:
    database = Database(mongodb_url, database_name)
    await database.start()
    yield database
    await database.close()


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


class Bench:
    """One broker and one database, projected to and looked at."""

    def __init__(self, url: str, database: Database, publisher: EventPublisher) -> None:
        self.url = url
        self.database = database
        self.publisher = publisher
        self.clock = Clock()

    async def project(self, events: Sequence[Event]) -> None:
        projector = Projector(EventStore(self.database), LiveModel(self.database), max_events=1000, linger_s=0)
        await projector(Incoming(routing.PROJECTOR_QUEUE, "m", events, asyncio.Event()))

    async def waiting(self) -> dict[str, int]:
        """The queues that are not empty."""
        queues = [queue.name for queue in topology.plan([1000]).queues]
        return {queue: depth for queue, depth in (await depths(self.url, queues)).items() if depth}

    async def taken_from(self, queue: str) -> list[Event]:
        return await taken(self.url, queue)


@pytest.fixture
async def bench(broker_url: str, database: Database) -> AsyncIterator[Bench]:
    await topology.apply(broker_url, topology.plan([1000]), settle_s=0)
    await indexes.apply(database)
    async with publishing(broker_url) as publisher:
        yield Bench(broker_url, database, publisher)
