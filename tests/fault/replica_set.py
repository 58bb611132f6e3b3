"""Three members of a replica set on this machine, to be killed."""

import asyncio
import signal
import subprocess
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.read_preferences import Secondary
from wavecom_common.testing.waiting import eventually
from wavecom_stack.mongodb import find_server
from wavecom_stack.ports import free_ports

_NAME: Final = "rs0"
_OPTIONS: Final = f"--replSet {_NAME} --bind_ip 127.0.0.1 --nounixsocket --wiredTigerCacheSizeGB 0.25 --quiet"
# Lets a server be told to misbehave.
FAIL_POINTS: Final = "--setParameter enableTestCommands=1"


class ReplicaSet:
    """The servers by port, each with its own data."""

    def __init__(self, folder: Path, more: str = "") -> None:
        """Not started yet; `more` are options of each server."""
        self._folder = folder
        self._more = more
        ports = free_ports()
        self._ports = [next(ports) for _ in range(3)]
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self.url: Final = f"mongodb://{','.join(f'127.0.0.1:{port}' for port in self._ports)}/?replicaSet={_NAME}"

    async def start(self) -> None:
        """Start what does not run; return when there is a primary."""
        for port in self._ports:
            if port not in self._running:
                self._running[port] = _server(port, self._folder, self._more)
        await eventually(lambda: asyncio.to_thread(self._initiated), timeout_s=60, what="the replica set")
        await eventually(lambda: asyncio.to_thread(self._primary), timeout_s=60, what="a primary")

    async def kill_primary(self) -> None:
        """SIGKILL to whoever is primary now."""
        port = await asyncio.to_thread(self._primary)
        assert port is not None
        killed = self._running.pop(port)
        killed.send_signal(signal.SIGKILL)
        killed.wait()

    async def hold_back(self) -> None:
        """Let one secondary apply nothing any more; it is tagged `lags: yes`. Needs `FAIL_POINTS`."""
        await eventually(lambda: asyncio.to_thread(self._tagged), timeout_s=30, what="the new configuration")
        await eventually(lambda: asyncio.to_thread(self._held_back), timeout_s=30, what="the secondary that lags")

    def stop(self) -> None:
        """End all of them."""
        for process in self._running.values():
            process.kill()
            process.wait()

    def _initiated(self) -> bool:
        hosts = [{"_id": number, "host": f"127.0.0.1:{port}"} for number, port in enumerate(self._ports)]
        config = {"_id": _NAME, "members": hosts, "settings": {"electionTimeoutMillis": 2000}}
        url = f"mongodb://127.0.0.1:{self._ports[0]}/?directConnection=true"
        with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=1000) as client:
            try:
                client.admin.command("replSetInitiate", config)
            except PyMongoError as error:
                return "already initialized" in str(error)
            return True

    def _tagged(self) -> bool:
        with MongoClient[dict[str, Any]](self.url, serverSelectionTimeoutMS=1000) as client:
            config = client.admin.command("replSetGetConfig")["config"]
            lagging = next(one for one in config["members"] if one["host"] != f"127.0.0.1:{self._primary()}")
            lagging |= {"priority": 0, "tags": {"lags": "yes"}}
            config["version"] += 1
            try:
                client.admin.command("replSetReconfig", config)
            except PyMongoError:
                return False
            return True

    def _held_back(self) -> bool:
        with MongoClient[dict[str, Any]](self.url, serverSelectionTimeoutMS=2000) as client:
            try:
                client.admin.command(
                    {"configureFailPoint": "rsSyncApplyStop", "mode": "alwaysOn"},
                    read_preference=Secondary(tag_sets=[{"lags": "yes"}]),
                )
            except PyMongoError:
                return False
            return True

    def _primary(self) -> int | None:
        with MongoClient[dict[str, Any]](self.url, serverSelectionTimeoutMS=1000) as client:
            try:
                client.admin.command("ping")
            except PyMongoError:
                return None
            return client.primary[1] if client.primary else None


def _server(port: int, folder: Path, more: str) -> "subprocess.Popen[bytes]":
    server = find_server()
    assert server is not None
    data = folder / str(port)
    data.mkdir(exist_ok=True)
    command = [
        server,
        *_OPTIONS.split(),
        *more.split(),
        "--port",
        str(port),
        "--dbpath",
        data,
        "--logpath",
        data / "log",
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)
