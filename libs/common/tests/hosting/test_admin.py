"""The admin port's answers."""

import httpx
import pytest
from wavecom_common.hosting.admin import admin_app

PATHS = ("/health/live", "/health/ready", "/health/serving", "/metrics")


async def ask(path: str, host: str) -> int:
    transport = httpx.ASGITransport(admin_app(list, list))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
        return (await client.get(path, headers={"Host": host})).status_code


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "10.244.1.7:8080", "[::1]:8080", "[fd00::7]"]
)
async def test_it_is_called_by_address(path: str, host: str) -> None:
    assert await ask(path, host) == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b"])
async def test_a_page_whose_name_was_made_to_point_here_reads_nothing(path: str, host: str) -> None:
    assert await ask(path, host) == 421
