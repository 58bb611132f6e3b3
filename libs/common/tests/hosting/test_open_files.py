"""The open files a process asks for: those of all its servers together."""

import resource
from collections.abc import Iterator

import pytest
from wavecom_common.hosting.http import HttpServer
from wavecom_common.hosting.http_limits import HttpLimits
from wavecom_common.hosting.open_files import allow_open_files
from wavecom_common.hosting.service import run
from wavecom_common.hosting.settings import Settings
from wavecom_common.kernel.errors import ConfigurationError


@pytest.fixture
def soft_limit() -> Iterator[None]:
    """As a shell has it; what a test changes is changed back."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def nothing(scope: object, receive: object, send: object) -> None:
    raise AssertionError("nobody asks")


def test_more_connections_than_open_files_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"1,000,000,000 connections need .* open files"):
        allow_open_files(10**9)


@pytest.mark.usefixtures("soft_limit")
def test_what_is_allowed_already_is_not_asked_for() -> None:
    allow_open_files(100)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1_024


class Stopping:
    """The last part, which ends the process once the others have started."""

    async def start(self) -> None:
        raise ConfigurationError("enough seen")

    def ready(self) -> str | None:
        return None

    async def drain(self) -> None:
        pass

    async def close(self) -> None:
        pass


@pytest.mark.usefixtures("soft_limit")
async def test_a_process_asks_for_those_of_all_its_servers_together() -> None:
    server = HttpServer(nothing, name="public", host="127.0.0.1", port=0, limits=HttpLimits(connections=2_000))
    with pytest.raises(ConfigurationError, match="enough seen"):
        await run("any", Settings(), lambda _: [server, Stopping()])
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 2_000 + 64 + 256
