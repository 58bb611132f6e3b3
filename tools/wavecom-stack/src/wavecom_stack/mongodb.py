"""A private MongoDB: one mongod with its own data and port, as a replica set of one node."""

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from wavecom_stack.folder import RunFolder
from wavecom_stack.ports import LOOPBACK
from wavecom_stack.supervision import Program

REPLICA_SET: Final = "rs0"
_NOT_YET_INITIALIZED: Final = 94
_INVALID_REPLICA_SET_CONFIG: Final = 93
_CACHE_GB: Final = 1


def find_server() -> Path | None:
    """A mongod of this machine, else the one that came with our packages; None when there is neither."""
    on_path = shutil.which("mongod")
    return Path(on_path) if on_path else _packaged_server()


def _packaged_server() -> Path | None:
    package = importlib.util.find_spec("fiftyone")
    for location in (package.submodule_search_locations if package else None) or ():
        if (path := Path(location) / "db" / "bin" / "mongod").exists():
            return path
    return None


def runs(server: Path) -> bool:
    """Whether the program and the libraries it needs are there."""
    return subprocess.run([str(server), "--version"], capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class PrivateDatabase:
    """How to run a mongod of our own and where it will be."""

    server: Path
    folder: RunFolder
    port: int

    @classmethod
    def plan(cls, server: Path, folder: RunFolder, ports: Iterator[int]) -> "PrivateDatabase":
        """Choose its port."""
        return cls(server, folder, next(ports))

    @property
    def url(self) -> str:
        """Connection string."""
        return url_of(self.port)

    def programs(self) -> Sequence[Program]:
        """The server."""
        options = {
            "--replSet": REPLICA_SET,
            "--bind_ip": LOOPBACK,
            "--port": self.port,
            "--dbpath": self.folder.data("mongodb"),
            "--pidfilepath": self.folder.pid("mongodb"),
            "--wiredTigerCacheSizeGB": _CACHE_GB,
            "--setParameter": "diagnosticDataCollectionEnabled=false",
        }
        arguments = [str(part) for option in options.items() for part in option]
        command = [str(self.server), *arguments, "--nounixsocket", "--quiet"]
        return (Program(name="mongodb", stage="infra", command=command, stop_wait_s=30),)

    def prepare(self) -> None:
        """Make the data folder."""
        self.folder.data("mongodb").mkdir(parents=True, exist_ok=True)

    def not_ready(self) -> str | None:
        """Make the server a primary; return why it is none yet, or None."""
        return not_primary(self.url, member=f"{LOOPBACK}:{self.port}")


def url_of(port: int) -> str:
    """Connection string of a one-node replica set on the loopback interface."""
    return f"mongodb://{LOOPBACK}:{port}/?directConnection=true"


def not_primary(url: str, *, member: str) -> str | None:
    """Initiate the replica set where that is still to do; return why the server is not primary yet, or None.

    Args:
        url: where we reach the server.
        member: where the server reaches itself.
    """
    with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=1_000, connectTimeoutMS=1_000) as client:
        try:
            _configure(client, member)
            return None if client.admin.command("hello")["isWritablePrimary"] else "MongoDB is not primary yet"
        except PyMongoError as error:
            return f"MongoDB does not answer yet ({type(error).__name__})"


def _configure(client: MongoClient[dict[str, Any]], member: str) -> None:
    wanted = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": member}]}
    try:
        client.admin.command("replSetGetStatus")
    except OperationFailure as error:
        if error.code == _NOT_YET_INITIALIZED:
            client.admin.command("replSetInitiate", wanted)
        elif error.code == _INVALID_REPLICA_SET_CONFIG:
            # Kept data whose set knows the server by the port of another day.
            client.admin.command("replSetReconfig", {**wanted, "version": 1}, force=True)
        else:
            raise
