"""A pytest plugin: a real broker and a real database for the tests that ask for them.

Both are started once per session, before the first test, so no test's time limit covers their start. A session in one
process starts them only when a collected test uses one of the fixtures: a run of unit tests starts nothing. With worker
processes (`pytest -n`) there is one of each for all workers, started before them.
"""

import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
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
from wavecom_stack.leftovers import end_marked
from wavecom_stack.ports import PART
from wavecom_stack.stack import Stack, undisturbed

_FIXTURES: Final = frozenset({"infra", "broker_url", "management_url", "mongodb_url", "database_name"})
_FOLDER: Final = re.compile(r"test-(\d+)")
_INFRA: Final = pytest.StashKey[Infra]()
_FAILED: Final = pytest.StashKey[bool]()
_RUN: Final = pytest.StashKey[str]()
# A worker sets it, so whatever its tests start inherits it.
_RUN_VARIABLE: Final = "PYTEST_XDIST_TESTRUNUID"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Start the broker and the database, for all workers."""
    _start(config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker where they are."""
    infra = node.config.stash[_INFRA]
    node.config.stash[_RUN] = node.workerinput["testrunuid"]
    node.workerinput["infra"] = {
        "broker_url": infra.broker_url,
        "management_url": infra.management_url,
        "mongodb_url": infra.mongodb_url,
    }


def pytest_configure(config: pytest.Config) -> None:
    """Take over, in a worker, what it was told."""
    given: Mapping[str, Any] | None = getattr(config, "workerinput", None)
    if given is not None:
        config.stash[_INFRA] = Infra(**given["infra"])
        # A worker that crashed is replaced by one with the next number.
        number = int(given["workerid"].removeprefix("gw")) % given["workercount"]
        os.environ[PART] = f"{number}/{given['workercount']}"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the broker and the database if a test is going to need them."""
    needed = any(_FIXTURES.intersection(getattr(item, "fixturenames", ())) for item in session.items)
    if needed and not session.config.option.collectonly and _INFRA not in session.config.stash:
        _start(session.config)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remember whether the logs are of interest."""
    session.config.stash[_FAILED] = session.testsfailed > 0


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


def _start(config: pytest.Config) -> None:
    runs = config.rootpath / ".run"
    _remove_abandoned(runs)
    stack = Stack(RunFolder(runs / f"test-{os.getpid()}"), os.environ, _terminal(config))
    # Not at the session's finish: there is none when the session is interrupted here, and workers end only then.
    config.add_cleanup(lambda: _stop(config, stack))
    try:
        config.stash[_INFRA] = stack.start_infra()
    except StackError as error:
        pytest.exit(str(error), returncode=1)


def _stop(config: pytest.Config, stack: Stack) -> None:
    """Leave nothing but the logs, and those only when tests failed."""
    with undisturbed():
        run = config.stash.get(_RUN, None)
        if run is not None:
            end_marked(_RUN_VARIABLE, run)  # of a worker that was killed, or interrupted twice
        stack.stop()
        if not config.stash.get(_FAILED, False):
            shutil.rmtree(stack.folder.root, ignore_errors=True)


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
