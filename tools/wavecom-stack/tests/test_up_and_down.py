"""The whole system started and stopped, as `make up` and `make down` do it."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from wavecom_stack.down import down
from wavecom_stack.folder import RunFolder
from wavecom_stack.infra import MONGODB_URL, RABBITMQ_URL
from wavecom_stack.ports import free_ports
from wavecom_stack.services import SERVICES
from wavecom_stack.stack import Stack
from wavecom_stack.state import State
from wavecom_stack.up import up
from wavecom_stack.waiting import wait_until

pytestmark = [pytest.mark.connected, pytest.mark.timeout(300)]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    folder = RunFolder(tmp_path)
    yield folder
    Stack(folder, os.environ, print).stop()


@pytest.fixture
def environment(broker_url: str, mongodb_url: str, database_name: str) -> dict[str, str]:
    ports = free_ports()
    return dict(os.environ) | {
        RABBITMQ_URL: broker_url,
        MONGODB_URL: mongodb_url,
        "WAVECOM_MONGODB_DATABASE": database_name,
        "WAVECOM_HTTP_PORT": str(next(ports)),
        "WAVECOM_GRPC_PORT": str(next(ports)),
        "WAVECOM_SIMULATED_SUCCESS_RATE": "1",
    }


def test_up_makes_everything_ready_and_down_leaves_nothing(folder: RunFolder, environment: dict[str, str]) -> None:
    up(folder, environment, print)

    state = State.read(folder)
    assert state is not None
    assert list(state.admin_urls) == [service.name for service in SERVICES]
    pids = {name: int(folder.pid(name).read_text()) for name in state.admin_urls}
    answer = httpx.post(
        f"{state.api_url}/api/notifications",
        json={"channel": "push", "recipient": "a" * 64, "message": "Hello"},
    )
    assert answer.status_code == httpx.codes.CREATED
    wait_until(lambda: _not_sent(state.api_url, answer.json()["data"]["id"]), timeout_s=30)

    said: list[str] = []
    up(folder, environment, said.append)
    assert said[0].startswith("The stack is up already")
    assert {name: int(folder.pid(name).read_text()) for name in pids} == pids

    down(folder, environment, said.append, keep_data=False)
    assert not any(psutil.pid_exists(pid) for pid in pids.values())
    assert list(folder.root.glob("*.pid")) == []


def _not_sent(api_url: str, notification_id: str) -> str | None:
    status = httpx.get(f"{api_url}/api/notifications/{notification_id}").json()["data"]["status"]
    return None if status == "sent" else f"the notification is {status}"
