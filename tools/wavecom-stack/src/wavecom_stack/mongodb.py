"""A private MongoDB: a mongod with its own data and port, as a replica set of one node or one of several."""

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
# Of a set of several: another primary is elected after 5 s without the last, not after 10, and begins at once. Else it
# first looks for writes that only the last one has, which waits for 10 s for a member that is cut off; what is
# acknowledged to us is with a majority, hence with whoever can be elected. As in the manifests.
# Source: https://www.mongodb.com/docs/manual/reference/replica-configuration/
_SETTINGS: Final = {"electionTimeoutMillis": 5000, "catchUpTimeoutMillis": 0}


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
    """How to run a mongod of our own and where it will be.

    Attributes:
        name: of the process, its log and its data.
        members: where the members of its replica set are reached, `host:port`, the one that sets it up first; empty for
            a server alone.
    """

    server: Path
    folder: RunFolder
    port: int
    name: str = "mongodb"
    members: tuple[str, ...] = ()

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
            "--dbpath": self.folder.data(self.name),
            "--pidfilepath": self.folder.pid(self.name),
            "--wiredTigerCacheSizeGB": _CACHE_GB / max(1, len(self.members)),
            "--setParameter": "diagnosticDataCollectionEnabled=false",
        }
        arguments = [str(part) for option in options.items() for part in option]
        command = [str(self.server), *arguments, "--nounixsocket", "--quiet"]
        # One of several is killed, as its broker is: others go on, and a set that is stopped whole elects nobody.
        stop_signal = "KILL" if self.members else "TERM"
        return (Program(name=self.name, stage="infra", command=command, stop_signal=stop_signal, stop_wait_s=30),)

    def prepare(self) -> None:
        """Make the data folder."""
        self.folder.data(self.name).mkdir(parents=True, exist_ok=True)

    def not_ready(self) -> str | None:
        """Set its replica set up where that is still to do; return why it does not serve yet, or None."""
        return not_serving(self.url, self.members or [f"{LOOPBACK}:{self.port}"])


def set_url(members: Sequence[str]) -> str:
    """Connection string of a replica set of these members, `host:port`."""
    return f"mongodb://{','.join(members)}/?replicaSet={REPLICA_SET}"


def url_of(port: int) -> str:
    """Connection string of a one-node replica set on the loopback interface."""
    return f"mongodb://{LOOPBACK}:{port}/?directConnection=true"


def not_serving(url: str, members: Sequence[str]) -> str | None:
    """Initiate the replica set where that is still to do; return why the server does not serve yet, or None.

    Args:
        url: where we reach the server.
        members: where the servers of its set reach each other, `host:port`.
    """
    with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=1_000, connectTimeoutMS=1_000) as client:
        try:
            _configure(client, members)
            hello = client.admin.command("hello")
        except PyMongoError as error:
            return f"MongoDB does not answer yet ({type(error).__name__})"
    # Just elected, it names itself and does not take writes yet.
    serves = hello["isWritablePrimary"] or hello.get("primary") not in {None, hello.get("me")}
    return None if serves else "MongoDB has no primary yet"


def _configure(client: MongoClient[dict[str, Any]], members: Sequence[str]) -> None:
    wanted: dict[str, Any] = {
        "_id": REPLICA_SET,
        "members": [{"_id": at, "host": member} for at, member in enumerate(members)],
    }
    if len(members) > 1:
        wanted["settings"] = _SETTINGS
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
