"""KEDA's formula, the manifests' thresholds and real queues: processes come and go here as pods would in a cluster.

All waits of the scalers are shortened by the same factor, so that their five minutes last three seconds; a copy gets as
much slower as its share of this machine asks for. The question to the broker is KEDA's, and so is the arithmetic.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from pymongo import MongoClient
from wavecom_common.events.channels import CHANNELS
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.waiting import eventually
from wavecom_manifests.objects import Json, Manifests
from wavecom_manifests.processes import PROCESSES
from wavecom_manifests.repository import RENDERED
from wavecom_manifests.scaling import PERIOD_S, Autoscaler, Scaler
from wavecom_stack.services import SERVICES

pytestmark = [pytest.mark.connected, pytest.mark.timeout(300)]

_LOADED: Final = "email-sender"
_NOTIFICATIONS: Final = 3000
_FASTER: Final = 100
_MOST: Final = 4
_MANIFESTS: Final = Manifests.read(RENDERED / "prod.yaml")


@dataclass
class Fleet:
    """The copies of one process: started and told to stop, as a Deployment does with pods."""

    name: str
    environment: Mapping[str, str]
    folder: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    leaving: list[subprocess.Popen[bytes]] = field(default_factory=list)
    started: int = 0

    def scale(self, number: int) -> None:
        """Start or stop copies; those told to stop finish what they have in hand."""
        while len(self.running) < number:
            arguments = next(service.arguments for service in SERVICES if service.name == self.name)
            self.started += 1
            with (self.folder / f"{self.name}-{self.started}.log").open("wb") as log:
                command = [sys.executable, "-m", *arguments]
                self.running.append(subprocess.Popen(command, env=dict(self.environment), stdout=log, stderr=log))
        while len(self.running) > number:
            leaving = self.running.pop()
            leaving.terminate()
            self.leaving.append(leaving)

    def stop(self) -> None:
        """End all and wait for them."""
        self.scale(0)
        for process in self.leaving:
            process.wait(40)


@dataclass
class Cluster:
    """The scalers of the manifests, the fleets they scale, and what they saw and did."""

    api: httpx.Client
    vhost: str
    fleets: Mapping[str, Fleet]
    autoscalers: Mapping[str, Autoscaler]
    triggers: Mapping[str, Json]
    highest: Counter[str] = field(default_factory=Counter)
    read_at_s: float = float("-inf")

    def messages(self, name: str) -> int:
        """What KEDA takes for the length of a process's queues: ready and given out, all of them together."""
        trigger = self.triggers[name]
        if trigger.get("useRegex") != "true":
            answer = self.api.get(f"/api/queues/{self.vhost}/{trigger['queueName']}")
            return int(answer.raise_for_status().json().get("messages", 0))
        question = {
            "page": 1,
            "use_regex": "true",
            "pagination": "false",
            "page_size": 100,
            "name": trigger["queueName"],
        }
        found = self.api.get(f"/api/queues/{self.vhost}", params=question).raise_for_status().json()["items"]
        return sum(item.get("messages", 0) for item in found)

    def read(self, now_s: float) -> None:
        """Ask and act once, for every scaler, when it is time: in the rhythm of the HorizontalPodAutoscaler."""
        if now_s - self.read_at_s < PERIOD_S / _FASTER:
            return
        self.read_at_s = now_s
        for name, autoscaler in self.autoscalers.items():
            fleet = self.fleets[name]
            number = autoscaler.decide(now_s, self.messages(name), len(fleet.running))
            fleet.scale(number)
            self.highest[name] = max(self.highest[name], number)


@pytest.fixture
def calls_file(tmp_path: Path) -> Path:
    return tmp_path / "calls"


@pytest.fixture
def cluster(
    broker_url: str, management_url: str, mongodb_url: str, database_name: str, tmp_path: Path, calls_file: Path
) -> Iterator[Cluster]:
    environment = os.environ | {
        "WAVECOM_RABBITMQ_URL": broker_url,
        "WAVECOM_MONGODB_URL": mongodb_url,
        "WAVECOM_MONGODB_DATABASE": database_name,
        # Small messages and slow copies: a backlog that a few processes can work off before a test's patience ends.
        "WAVECOM_BATCH_MAX_EVENTS": "10",
        "WAVECOM_MAX_IN_FLIGHT": "20",
        "WAVECOM_PREFETCH": "16",
        "WAVECOM_SIMULATED_SUCCESS_RATE": "1",
        "WAVECOM_SIMULATED_MIN_DELAY_MS": "100",
        "WAVECOM_SIMULATED_MAX_DELAY_MS": "100",
        "WAVECOM_SIMULATED_CALLS_FILE": str(calls_file),
    }
    for arguments in (["topology", "apply"], ["database", "apply"]):
        subprocess.run([sys.executable, "-m", "wavecom_cli", *arguments], env=environment, check=True)
    scaled = {one.name: one for one in _MANIFESTS.of("ScaledObject")}
    scalers = {name: replace(Scaler.of(one).faster(_FASTER), least=1, most=_MOST) for name, one in scaled.items()}
    fleets = {name: Fleet(name, environment, tmp_path) for name in scaled}
    try:
        for fleet in fleets.values():
            fleet.scale(1)
        with httpx.Client(base_url=management_url, timeout=30) as api:
            yield Cluster(
                api,
                broker_url.rpartition("/")[2],
                fleets,
                {name: Autoscaler(scaler) for name, scaler in scalers.items()},
                {name: one.spec["triggers"][0]["metadata"] for name, one in scaled.items()},
            )
    finally:
        for fleet in fleets.values():
            fleet.scale(0)
        for fleet in fleets.values():
            fleet.stop()


async def test_a_load_on_one_channel_scales_that_channel_alone_and_nothing_is_lost(
    cluster: Cluster, calls_file: Path, broker_url: str, mongodb_url: str, database_name: str
) -> None:
    await _post(broker_url, _NOTIFICATIONS)
    seen: list[int] = []

    def all_gone_and_scaled_down() -> bool:
        cluster.read(SYSTEM_CLOCK.now_ms() / 1000)
        seen.append(len(cluster.fleets[_LOADED].running))
        return seen[-1] == 1 and max(seen) > 1 and _ended(mongodb_url, database_name) == _NOTIFICATIONS

    await eventually(all_gone_and_scaled_down, timeout_s=200, what="the load is worked off and the copies are gone")

    assert cluster.highest[_LOADED] == _MOST
    quiet = [f"{channel}-sender" for channel in CHANNELS if f"{channel}-sender" != _LOADED]
    assert {name: cluster.highest[name] for name in quiet} == dict.fromkeys(quiet, 1)
    assert cluster.fleets[_LOADED].started >= _MOST
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        statuses = Counter(one["head"]["status"] for one in client[database_name]["notifications"].find())
    assert statuses == {"sent": _NOTIFICATIONS}
    # Copies that left gave back what they had not begun, and finished what they had: nobody was called twice.
    calls = [json.loads(line)["key"] for line in calls_file.read_text().splitlines()]
    assert len(calls) == len(set(calls)) == _NOTIFICATIONS


async def _post(broker_url: str, count: int) -> None:
    """Accept notifications as the API does, faster than one machine's API could."""
    publisher = EventPublisher(broker_url, name="load", required_queues=[], max_events=10)
    await publisher.start()
    now_ms = SYSTEM_CLOCK.now_ms()
    await publisher.publish([a_request(channel="email", now_ms=now_ms) for _ in range(count)], timeout_s=60)
    await publisher.close()


def _ended(mongodb_url: str, database_name: str) -> int:
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        return client[database_name]["notifications"].count_documents({"head.status": {"$in": ["sent", "failed"]}})


def test_every_consumer_has_a_scaler_to_try() -> None:
    assert {one.name for one in _MANIFESTS.of("ScaledObject")} == {name for name in PROCESSES if PROCESSES[name].reads}
