"""The disk under the event store is full: the server stops, and goes on where it was once there is room."""

import asyncio
import resource
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from status_projector.model import projection
from status_projector.model.read_model import ReadModel
from status_projector.store.event_store import EventStore
from wavecom_common.delivery.ledger import Ledger
from wavecom_common.events.outcomes import Delivered
from wavecom_common.storage import indexes
from wavecom_common.storage.client import Database
from wavecom_common.testing.waiting import eventually
from wavecom_stack.mongodb import find_server, not_serving, url_of
from wavecom_stack.ports import LOOPBACK, free_ports

from tests.fault.writers import deliver

# No file may grow beyond this, and the journal soon has to: it fails as it would on a full disk.
ROOM_BYTES = 2_000_000


@dataclass
class Server:
    """A database server of the test's own."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self) -> None:
        server = find_server()
        assert server is not None
        options = f"--replSet rs0 --bind_ip {LOOPBACK} --port {self.port} --nounixsocket --wiredTigerCacheSizeGB 0.25"
        command = [server, *options.split(), "--quiet", "--dbpath", self.folder, "--logpath", self.folder / "log"]
        self.process = subprocess.Popen([*command, "--logappend"], stdout=subprocess.DEVNULL)

    async def primary(self) -> None:
        def ready() -> bool:
            return not_serving(url_of(self.port), [f"{LOOPBACK}:{self.port}"]) is None

        await eventually(lambda: asyncio.to_thread(ready), timeout_s=60, what="a primary")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, next(free_ports()))
    server.start()
    yield server
    assert server.process is not None
    server.process.kill()
    server.process.wait()


@pytest.fixture
async def database(server: Server) -> AsyncIterator[Database]:
    await server.primary()
    database = Database(url_of(server.port), "full")
    await indexes.apply(database)
    yield database
    await database.close()


@pytest.mark.timeout(240)
async def test_nothing_acknowledged_is_lost_when_the_disk_is_full(server: Server, database: Database) -> None:
    ledger, store, model = Ledger(database, owner="a"), EventStore(database), ReadModel(database)
    done, stop = list[str](), asyncio.Event()

    async def deliver_many() -> None:
        while not stop.is_set():
            done.append(await deliver(ledger, store, model))

    load = [asyncio.create_task(deliver_many()) for _ in range(8)]
    await eventually(lambda: len(done) > 50, timeout_s=60)
    full = server.process
    assert full is not None
    resource.prlimit(full.pid, resource.RLIMIT_FSIZE, (ROOM_BYTES, ROOM_BYTES))
    await eventually(lambda: full.poll() is not None, timeout_s=60, what="the end of the server")

    known = len(done)
    server.start()
    await server.primary()
    await eventually(lambda: len(done) > known + 50, timeout_s=60)
    stop.set()
    await asyncio.gather(*load)
    folded = projection.fold([event async for event in store.stream()])
    stored = {notification_id: facts async for notification_id, facts in model.stream()}
    assert set(done) == set(stored)
    assert stored == folded
    found = await asyncio.gather(*[Ledger(database, owner="b").claim(f"{one}:1") for one in done])
    assert all(claim is not None and claim.outcome == Delivered("x") for claim in found)
