"""Three members of a replica set, and the primary is killed while everybody writes."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from status_projector import projection
from wavecom_common.events.outcomes import Delivered
from wavecom_common.storage import indexes
from wavecom_common.storage.client import Database
from wavecom_common.storage.event_store import EventStore
from wavecom_common.storage.ledger import Ledger
from wavecom_common.storage.read_model import ReadModel
from wavecom_common.testing.waiting import eventually
from wavecom_stack.mongodb import find_server
from wavecom_stack.ports import free_ports

from tests.fault.writers import deliver

Members = dict[int, "subprocess.Popen[bytes]"]


@pytest.fixture
def members(tmp_path: Path) -> Iterator[Members]:
    """Three servers, by port."""
    server = find_server()
    assert server is not None
    ports = free_ports()
    running: Members = {}
    for _ in range(3):
        port = next(ports)
        folder = tmp_path / str(port)
        folder.mkdir()
        options = f"--replSet rs0 --bind_ip 127.0.0.1 --port {port} --nounixsocket --wiredTigerCacheSizeGB 0.25 --quiet"
        command = [server, *options.split(), "--dbpath", folder, "--logpath", folder / "log"]
        running[port] = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    yield running
    for process in running.values():
        process.kill()
        process.wait()


@pytest.fixture
async def url(members: Members) -> str:
    """The set's address, once it has a primary."""
    hosts = [{"_id": number, "host": f"127.0.0.1:{port}"} for number, port in enumerate(members)]
    config = {"_id": "rs0", "members": hosts, "settings": {"electionTimeoutMillis": 2000}}
    first = next(iter(members))

    def initiated() -> bool:
        with MongoClient[dict[str, Any]](
            f"mongodb://127.0.0.1:{first}/?directConnection=true", serverSelectionTimeoutMS=1000
        ) as client:
            try:
                client.admin.command("replSetInitiate", config)
            except PyMongoError as error:
                return "already initialized" in str(error)
            return True

    await eventually(lambda: asyncio.to_thread(initiated), timeout_s=60, what="the replica set")
    url = "mongodb://" + ",".join(f"127.0.0.1:{port}" for port in members) + "/?replicaSet=rs0"
    await eventually(lambda: asyncio.to_thread(primary_port, url), timeout_s=60, what="a primary")
    return url


def primary_port(url: str) -> int | None:
    with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=1000) as client:
        try:
            client.admin.command("ping")
        except PyMongoError:
            return None
        return client.primary[1] if client.primary else None


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = Database(url, "failover")
    await indexes.apply(database)
    yield database
    await database.close()


@pytest.mark.timeout(240)
async def test_nothing_acknowledged_is_lost_when_the_primary_is_killed(
    members: Members, url: str, database: Database
) -> None:
    ledger = Ledger(database, owner="a")
    store, model = EventStore(database), ReadModel(database)
    done: list[str] = []

    async def deliver_many() -> None:
        for _ in range(40):
            done.append(await deliver(ledger, store, model))

    load = [asyncio.create_task(deliver_many()) for _ in range(8)]
    await eventually(lambda: len(done) > 60, timeout_s=60)
    killed = await asyncio.to_thread(primary_port, url)
    assert killed is not None
    members[killed].send_signal(signal.SIGKILL)
    await asyncio.gather(*load)
    assert len(done) == 320
    folded = projection.fold([event async for event in store.stream()])
    stored = {notification_id: facts async for notification_id, facts in model.stream()}
    assert set(done) == set(stored) == set(folded)
    assert stored == folded
    found = await asyncio.gather(*[Ledger(database, owner="b").claim(f"{one}:1") for one in done[:50]])
    assert all(claim is not None and claim.outcome == Delivered("x") for claim in found)
