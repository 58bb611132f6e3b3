"""The whole system, once per session, for the tests that need it: see `wavecom_stack.testing`."""

from collections.abc import Iterator

import httpx
import pytest
from wavecom_stack.infra import Infra

from tests.system import System, running_system


@pytest.fixture(scope="session")
def system(infra: Infra, management_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """All seven processes on the session's broker and database."""
    with running_system(infra, management_url, tmp_path_factory.mktemp("system"), name="system", more={}) as system:
        yield system


@pytest.fixture
def api(system: System) -> Iterator[httpx.Client]:
    """The public API."""
    with httpx.Client(base_url=system.api_url, timeout=30) as client:
        yield client
