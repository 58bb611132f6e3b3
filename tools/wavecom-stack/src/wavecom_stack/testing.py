"""A pytest plugin: a real broker and a real database for the tests that ask for them.

Both are started once per session, before the first test and only when a collected test uses one of the fixtures, so
a run of unit tests starts nothing and no test's time limit covers their start.
"""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import psutil
import pytest
from pymongo import MongoClient

from wavecom_stack.errors import StackError
from wavecom_stack.folder import RunFolder
from wavecom_stack.infra import MANAGEMENT_URL, Infra
from wavecom_stack.stack import Stack

_FIXTURES: Final = frozenset({"infra", "broker_url", "management_url", "mongodb_url", "database_name"})
_FOLDER: Final = re.compile(r"test-(\d+)")
_STACK: Final = pytest.StashKey[Stack]()
_INFRA: Final = pytest.StashKey[Infra]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the broker and the database if a test is going to need them."""
    needed = any(_FIXTURES.intersection(getattr(item, "fixturenames", ())) for item in session.items)
    if not needed or session.config.option.collectonly:
        return
    runs = session.config.rootpath / ".run"
    _remove_abandoned(runs)
    stack = Stack(RunFolder(runs / f"test-{os.getpid()}"), os.environ, _terminal(session.config))
    session.config.stash[_STACK] = stack
    try:
        session.config.stash[_INFRA] = stack.start_infra()
    except StackError as error:
        pytest.exit(str(error), returncode=1)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop them; their logs stay when tests failed."""
    stack = session.config.stash.get(_STACK, None)
    if stack is None:
        return
    stack.stop()
    if not session.testsfailed:
        shutil.rmtree(stack.folder.root, ignore_errors=True)


@pytest.fixture(scope="session")
def infra(request: pytest.FixtureRequest) -> Infra:
    """The session's broker and database."""
    return request.config.stash[_INFRA]


@pytest.fixture(scope="session")
def management_url(infra: Infra) -> str:
    """The broker's management API, with user and password."""
    if infra.management_url is None:
        pytest.fail(f"WAVECOM_RABBITMQ_URL is set, so {MANAGEMENT_URL} has to be set too: tests make virtual hosts.")
    return infra.management_url


@pytest.fixture
def broker_url(infra: Infra, management_url: str) -> Iterator[str]:
    """AMQP address of an empty virtual host that only this test uses."""
    with virtual_host(infra, management_url) as url:
        yield url


@contextmanager
def virtual_host(infra: Infra, management_url: str) -> Iterator[str]:
    """AMQP address of an empty virtual host, deleted afterwards."""
    parts = urlsplit(infra.broker_url)
    name = f"test-{uuid.uuid4().hex[:12]}"
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    with httpx.Client(base_url=management_url, timeout=30) as api:
        api.put(f"/api/vhosts/{name}").raise_for_status()
        api.put(f"/api/permissions/{name}/{parts.username}", json=everything).raise_for_status()
        yield urlunsplit(parts._replace(path=f"/{name}"))
        api.delete(f"/api/vhosts/{name}").raise_for_status()


@pytest.fixture(scope="session")
def mongodb_url(infra: Infra) -> str:
    """Connection string of the database server."""
    return infra.mongodb_url


@pytest.fixture
def database_name(mongodb_url: str) -> Iterator[str]:
    """Name of an empty database that only this test uses."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        client.drop_database(name)


def _terminal(config: pytest.Config) -> Any:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return reporter.write_line if reporter is not None else print


def _remove_abandoned(runs: Path) -> None:
    """Stop what test sessions left behind that were killed."""
    for root in runs.glob("test-*"):
        match = _FOLDER.fullmatch(root.name)
        if match and not psutil.pid_exists(int(match[1])):
            Stack(RunFolder(root), os.environ, print).stop()
            shutil.rmtree(root, ignore_errors=True)
