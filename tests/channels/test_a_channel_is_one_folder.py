"""A channel more is a folder more: seen with a copy of the workspace, in which nothing else is touched."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from wavecom_common.events.channels import CHANNELS
from wavecom_common.testing.waiting import eventually
from wavecom_stack.ports import free_ports

from tests.channels.workspace import CHANNEL, Workspace, with_one_more

BODY = {"channel": CHANNEL, "recipient": "+2348012345678", "message": "Hello"}
SENDER = f"{CHANNEL}-sender"

# What tools make of the channels there are, without a server.
_ASK = """
import json
from wavecom_bench.modes import Mode
from wavecom_bench.payloads import requests
from wavecom_fault.matrix import strikes
from wavecom_manifests import templates
from wavecom_stack.demo.load import mixed_load
print(json.dumps({
    "demo": [body["channel"] for body in mixed_load(40, seed=1)],
    "faults": [strike.victim for strike in strikes(1)],
    "bench": [request.decode() for _, request in requests(Mode("test", "", 40), "localhost")],
    "manifests": {templates.target(one).name: templates.made(one) for one in templates.templates()},
}))
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The copy."""
    return with_one_more(tmp_path_factory.mktemp("one-more"))


@pytest.fixture
def environment(broker_url: str, mongodb_url: str, database_name: str) -> dict[str, str]:
    """What the copy's stack is given: the test's own virtual host and database, and providers that never fail."""
    ports = free_ports()
    return {
        **os.environ,
        "WAVECOM_RABBITMQ_URL": broker_url,
        "WAVECOM_MONGODB_URL": mongodb_url,
        "WAVECOM_MONGODB_DATABASE": database_name,
        "WAVECOM_HTTP_PORT": str(next(ports)),
        "WAVECOM_GRPC_PORT": str(next(ports)),
        "WAVECOM_SIMULATED_SUCCESS_RATE": "1",
    }


@pytest.fixture
def api(workspace: Workspace, environment: dict[str, str], tmp_path: Path) -> Iterator[httpx.Client]:
    """The API of the copy's system, which runs."""
    folder = ["--folder", str(tmp_path / "run")]
    try:
        workspace.run("-m", "wavecom_stack", "up", *folder, environment=environment)
        with httpx.Client(base_url=f"http://127.0.0.1:{environment['WAVECOM_HTTP_PORT']}", timeout=30) as client:
            yield client
    finally:
        workspace.run("-m", "wavecom_stack", "down", *folder, environment=environment)


@pytest.mark.timeout(180)
async def test_it_is_validated_documented_delivered_and_found(api: httpx.Client) -> None:
    wrong = api.post("/api/notifications", json=BODY | {"recipient": "nobody"})
    assert wrong.status_code == 400
    assert wrong.json()["message"] == "recipient must be a phone number in E.164 form such as +2348012345678"
    document = api.get("/openapi.json").json()
    assert "WhatsappNotification" in document["components"]["schemas"]
    examples = document["paths"]["/api/notifications"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert examples[CHANNEL] == {"value": BODY}

    accepted = api.post("/api/notifications", json=BODY)
    assert accepted.status_code == 201, accepted.text
    path = f"/api/notifications/{accepted.json()['data']['id']}"
    await eventually(lambda: api.get(path).json()["data"]["status"] == "sent", what="the delivery", timeout_s=30)
    listed: dict[str, Any] = api.get("/api/notifications", params={"channel": CHANNEL}).json()
    assert [one["channel"] for one in listed["data"]["notifications"]] == [CHANNEL]


def test_demo_faults_benchmark_and_manifests_have_it(workspace: Workspace) -> None:
    found = json.loads(workspace.run("-c", _ASK))
    assert set(found["demo"]) == {*CHANNELS, CHANNEL}
    assert found["faults"].count(SENDER) == found["faults"].count(f"{CHANNELS[0]}-sender") > 0
    assert sum(f'"channel":"{CHANNEL}"' in request for request in found["bench"]) == 40 // (len(CHANNELS) + 1)
    lacking = [name for name, text in found["manifests"].items() if CHANNEL not in text]
    assert lacking == []
