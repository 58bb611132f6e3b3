"""A broker and a database that know the users of the manifests, with the rights the manifests give them."""

import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from wavecom_manifests.objects import Manifests
from wavecom_stack.mongodb import find_server
from wavecom_stack.ports import LOOPBACK, free_ports
from wavecom_stack.waiting import wait_until

PASSWORD: Final = "only-for-this-test"
_ALREADY_INITIALIZED: Final = 23


@dataclass(frozen=True)
class GuardedBroker:
    """A virtual host of the session's broker. A user's name there is the manifests' with something unique behind it."""

    url: str
    management_url: str
    vhost: str
    suffix: str

    def url_of(self, user: str) -> str:
        """The AMQP address for one of the manifests' users."""
        parts = urlsplit(self.url)
        address = f"{user}{self.suffix}:{PASSWORD}@{parts.hostname}:{parts.port}"
        return urlunsplit(parts._replace(netloc=address, path=f"/{self.vhost}"))

    def as_user(self, user: str) -> httpx.Client:
        """The management interface, as one of the manifests' users sees it."""
        parts = urlsplit(self.management_url)
        base = urlunsplit(parts._replace(netloc=f"{parts.hostname}:{parts.port}"))
        return httpx.Client(base_url=base, auth=(f"{user}{self.suffix}", PASSWORD), timeout=30)


@contextmanager
def guarded_broker(url: str, management_url: str, manifests: Manifests) -> Iterator[GuardedBroker]:
    """Make a virtual host with the manifests' users, and take all of it away again."""
    suffix = f"-{secrets.token_hex(4)}"
    broker = GuardedBroker(url, management_url, f"rights{suffix}", suffix)
    users = [user.name for user in manifests.of("User")]
    with httpx.Client(base_url=management_url, timeout=30) as api:
        api.put(f"/api/vhosts/{broker.vhost}").raise_for_status()
        for user in manifests.of("User"):
            account = {"password": PASSWORD, "tags": ",".join(user.spec.get("tags", []))}
            api.put(f"/api/users/{user.name}{suffix}", json=account).raise_for_status()
        for permission in manifests.of("Permission"):
            user = permission.spec["userReference"]["name"]
            rights = dict(permission.spec["permissions"])
            api.put(f"/api/permissions/{broker.vhost}/{user}{suffix}", json=rights).raise_for_status()
        for rule in manifests.of("TopicPermission"):
            user = rule.spec["userReference"]["name"]
            rights = dict(rule.spec["permissions"])
            api.put(f"/api/topic-permissions/{broker.vhost}/{user}{suffix}", json=rights).raise_for_status()
        try:
            yield broker
        finally:
            api.delete(f"/api/vhosts/{broker.vhost}").raise_for_status()
            for user in users:
                api.delete(f"/api/users/{user}{suffix}").raise_for_status()


@dataclass(frozen=True)
class GuardedDatabase:
    """A server of its own that wants a user and a password."""

    port: int

    def url_of(self, user: str) -> str:
        """The connection string of one of the manifests' users, as MongoDB's operator would write it."""
        return f"mongodb://{user}:{PASSWORD}@{LOOPBACK}:{self.port}/admin?replicaSet=rs0&authSource=admin"


@contextmanager
def guarded_database(folder: Path, manifests: Manifests) -> Iterator[GuardedDatabase]:
    """Start a replica set of one with access control, its roles and users those of the manifests; stop it again."""
    server = find_server()
    assert server is not None, "no mongod on this machine, and none packaged for its processor"
    database = GuardedDatabase(next(free_ports()))
    (folder / "data").mkdir()
    key = folder / "key"
    key.write_text(secrets.token_hex(32))
    key.chmod(0o600)
    options: Mapping[str, Any] = {
        "--replSet": "rs0",
        "--bind_ip": LOOPBACK,
        "--port": database.port,
        "--dbpath": folder / "data",
        "--keyFile": key,
        "--logpath": folder / "mongod.log",
        "--wiredTigerCacheSizeGB": 0.25,
    }
    arguments = [str(part) for option in options.items() for part in option]
    process = subprocess.Popen([str(server), "--nounixsocket", *arguments], stdout=subprocess.DEVNULL, env=os.environ)
    try:
        wait_until(lambda: _not_primary(database.port), timeout_s=60)
        _make_users(database.port, manifests)
        yield database
    finally:
        process.terminate()
        process.wait(timeout=30)


def _not_primary(port: int) -> str | None:
    with MongoClient[dict[str, Any]](LOOPBACK, port, directConnection=True, serverSelectionTimeoutMS=1000) as client:
        try:
            wanted = {"_id": "rs0", "members": [{"_id": 0, "host": f"{LOOPBACK}:{port}"}]}
            client.admin.command("replSetInitiate", wanted)
        except OperationFailure as error:
            if error.code != _ALREADY_INITIALIZED:
                raise
        except PyMongoError as error:
            return f"no server yet: {type(error).__name__}"
        return None if client.admin.command("hello")["isWritablePrimary"] else "no primary yet"


def _make_users(port: int, manifests: Manifests) -> None:
    [cluster] = manifests.of("MongoDBCommunity")
    with MongoClient[dict[str, Any]](LOOPBACK, port, directConnection=True) as client:
        # The first user may be made from this machine without being one; nobody may do anything else unknown.
        client.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
    with MongoClient[dict[str, Any]](f"mongodb://root:{PASSWORD}@{LOOPBACK}:{port}/?directConnection=true") as client:
        for role in cluster.spec["security"]["roles"]:
            client[role["db"]].command(
                "createRole", role["role"], privileges=list(role["privileges"]), roles=list(role["roles"])
            )
        for user in cluster.spec["users"]:
            roles = [{"role": role["name"], "db": role["db"]} for role in user["roles"]]
            client[user["db"]].command("createUser", user["name"], pwd=PASSWORD, roles=roles)
