"""`wavecom check` against a real database."""

import asyncio

import pytest
from status_projector.store.event_store import EventStore
from typer.testing import CliRunner, Result
from wavecom_cli.__main__ import app
from wavecom_common.storage.client import Database
from wavecom_common.testing.builders import a_request

pytestmark = pytest.mark.connected


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, mongodb_url: str, database_name: str) -> None:
    monkeypatch.setenv("WAVECOM_MONGODB_URL", mongodb_url)
    monkeypatch.setenv("WAVECOM_MONGODB_DATABASE", database_name)


async def check() -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["check", "--settle-s", "0"], catch_exceptions=False)


async def test_a_model_that_agrees_is_exit_status_zero() -> None:
    result = await check()

    assert result.exit_code == 0
    assert "differences: none" in result.output
    assert "without an end: none" in result.output


async def test_a_difference_is_named_and_is_exit_status_one(mongodb_url: str, database_name: str) -> None:
    request, database = a_request(message="a secret"), Database(mongodb_url, database_name)
    await EventStore(database).append([request])
    await database.close()

    result = await check()

    assert result.exit_code == 1
    assert f"{request.notification_id}  not in the read model" in result.output
    assert "differences: 1" in result.output
    assert (
        f"without an end: 1; the oldest is {request.notification_id}, accepted at 2023-11-14T22:13:20" in result.output
    )
    assert "secret" not in result.output
