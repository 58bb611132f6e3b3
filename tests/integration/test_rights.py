"""Every process does its work with the rights its Kubernetes manifest gives it on the broker and in the database."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aio_pika
import httpx
import pytest
from aiormq.exceptions import ChannelAccessRefused
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from status_projector.model import projection
from status_projector.model.live_model import LiveModel
from status_projector.store.event_store import EventStore
from wavecom_common.events import routing, types
from wavecom_common.hosting.settings import Settings
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.ids import new_notification_id
from wavecom_common.messaging import topology
from wavecom_common.storage.client import Database
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.waiting import eventually
from wavecom_manifests.objects import Manifests
from wavecom_manifests.policies.autoscaling import declared_queues
from wavecom_manifests.processes import PROCESSES
from wavecom_manifests.repository import RENDERED
from wavecom_stack.ports import LOOPBACK, free_ports
from wavecom_stack.services import SERVICES

from tests.integration.guarded import GuardedBroker, GuardedDatabase, guarded_broker, guarded_database

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

_REFUSED: Final = re.compile(r"access.refused|not.authorized|not.allowed|unauthorized", re.IGNORECASE)
_NOTIFICATIONS: Final = 60
_MANIFESTS: Final = Manifests.read(RENDERED / "prod.yaml")
_DELAYS_MS: Final = Settings.model_construct().broker_delays_ms
_WAITS: Final = [routing.retry_name(delay_ms) for delay_ms in _DELAYS_MS]


@dataclass(frozen=True)
class Guarded:
    """Both servers, set up by the two jobs with the jobs' own rights."""

    broker: GuardedBroker
    database: GuardedDatabase
    folder: Path

    def environment(self, name: str) -> Mapping[str, str]:
        """What the process or command of that name gets: its own users, and times that suit a test.

        But the manifests' waits before a retry: the rights name them.
        """
        return os.environ | {
            "WAVECOM_RABBITMQ_URL": self.broker.url_of(name),
            "WAVECOM_MONGODB_URL": self.database.url_of(name),
            "WAVECOM_SIMULATED_SUCCESS_RATE": "0.6",
            "WAVECOM_SIMULATED_MIN_DELAY_MS": "1",
            "WAVECOM_SIMULATED_MAX_DELAY_MS": "5",
            "WAVECOM_SWEEP_AFTER_S": "0.5",
            "WAVECOM_SWEEP_INTERVAL_S": "0.5",
        }

    def run(self, user: str, *arguments: str) -> str:
        """Run a command of the operator's command line; what it says."""
        done = subprocess.run(
            [sys.executable, "-m", "wavecom_cli", *arguments],
            env=dict(self.environment(user)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"wavecom {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def guarded(infra: Any, management_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    with (
        guarded_broker(infra.broker_url, management_url, _MANIFESTS) as broker,
        guarded_database(folder, _MANIFESTS) as database,
    ):
        found = Guarded(broker, database, folder)
        found.run("topology", "topology", "apply")
        found.run("schema", "database", "apply")
        yield found


@pytest.fixture(scope="module")
def waiting_room(infra: Any, management_url: str) -> Iterator[GuardedBroker]:
    """Another virtual host with the same users: what waits there comes out into queues that nobody reads."""
    with guarded_broker(infra.broker_url, management_url, _MANIFESTS) as broker:
        asyncio.run(topology.apply(broker.url_of("topology"), topology.plan(_DELAYS_MS), settle_s=0))
        yield broker


class Processes:
    """The seven processes, each with its own rights, started one by one."""

    def __init__(self, guarded: Guarded, ended: ExitStack) -> None:
        self._guarded = guarded
        self._ended = ended
        ports = free_ports()
        self._query_port, self._api_port = next(ports), next(ports)
        self._admin_ports = {service.name: next(ports) for service in SERVICES}

    @property
    def api(self) -> str:
        """The public address."""
        return f"http://{LOOPBACK}:{self._api_port}"

    def admin(self, name: str) -> str:
        """A process's own address."""
        return f"http://{LOOPBACK}:{self._admin_ports[name]}"

    def start(self, name: str, **more: str) -> None:
        """Start it; it is stopped when the test ends."""
        arguments = next(service.arguments for service in SERVICES if service.name == name)
        ports = {
            "WAVECOM_ADMIN_PORT": str(self._admin_ports[name]),
            "WAVECOM_HTTP_PORT": str(self._api_port),
            "WAVECOM_GRPC_PORT": str(self._query_port),
            "WAVECOM_STATUS_QUERY_TARGET": f"ipv4:{LOOPBACK}:{self._query_port}",
        }
        environment = {**self._guarded.environment(name), **ports, **more}
        log = self._ended.enter_context((self._guarded.folder / f"{name}.log").open("wb"))
        process = subprocess.Popen([sys.executable, "-m", *arguments], env=environment, stdout=log, stderr=log)
        self._ended.callback(process.wait, 40)
        self._ended.callback(process.terminate)


@pytest.fixture
def processes(guarded: Guarded) -> Iterator[Processes]:
    with ExitStack() as ended:
        yield Processes(guarded, ended)


async def test_a_mixed_load_goes_all_the_way_with_the_rights_of_the_manifests(
    guarded: Guarded, processes: Processes
) -> None:
    late = "dispatcher"
    for name in PROCESSES.keys() - {late}:
        processes.start(name)
    async with httpx.AsyncClient(timeout=10) as client:
        for name in PROCESSES.keys() - {late}:
            await eventually(
                lambda name=name: _ready(client, processes.admin(name)), timeout_s=90, what=f"{name} is ready"
            )
        for number in range(_NOTIFICATIONS):
            body, headers = _request(number)
            answer = await client.post(f"{processes.api}/api/notifications", json=body, headers=headers)
            assert answer.status_code == 201, answer.text
        # Nobody dispatches them, so the sweeper takes them on, which needs rights that nothing else does.
        await eventually(lambda: _swept(client, processes), timeout_s=30, what="a sweep")
        processes.start(late)

        async def ended() -> bool:
            return sum([await _total(client, processes.api, status) for status in ("sent", "failed")]) == _NOTIFICATIONS

        await eventually(ended, timeout_s=60, what="the end of every notification")
    said = [(guarded.folder / f"{name}.log").read_text() for name in PROCESSES]
    assert [line for text in said for line in text.splitlines() if _REFUSED.search(line)] == []


async def _swept(client: httpx.AsyncClient, processes: Processes) -> bool:
    answer = await client.get(f"{processes.admin('status-projector')}/metrics")
    return "wavecom_sweeper_swept_total{" in answer.text


async def _ready(client: httpx.AsyncClient, admin: str) -> bool:
    try:
        answer = await client.get(f"{admin}/health/ready")
    except httpx.TransportError:
        return False
    assert answer.is_success, answer.text
    return True


async def _total(client: httpx.AsyncClient, api: str, status: str) -> int:
    answer = await client.get(f"{api}/api/notifications", params={"status": status, "limit": 1})
    total: int = answer.json()["data"]["pagination"]["total"]
    return total


def _request(number: int) -> tuple[dict[str, str], dict[str, str]]:
    recipients = {"email": "user@example.com", "sms": "+4915112345678", "push": "a" * 64}
    channel = list(recipients)[number % 3]
    priority = ["high", "medium", "low"][number // 3 % 3]
    body = {"channel": channel, "recipient": recipients[channel], "message": "Hello", "priority": priority}
    # Every other one with a key, which takes the database as well.
    return body, {"Idempotency-Key": f"key-{number}"} if number % 2 else {}


@pytest.mark.parametrize("user", ["ingest-api", "dispatcher", "email-sender", "status-projector", "keda", "operator"])
async def test_nobody_but_the_job_may_declare_anything(guarded: Guarded, user: str) -> None:
    async with await aio_pika.connect(guarded.broker.url_of(user)) as connection:
        amqp_channel = await connection.channel()
        with pytest.raises(ChannelAccessRefused):
            await amqp_channel.declare_queue("mine", durable=True)


@pytest.mark.parametrize(
    ("user", "queue"),
    [
        ("ingest-api", "dispatcher.requested"),
        ("dispatcher", "email-sender.high"),
        ("sms-sender", "email-sender.high"),
        ("keda", "dispatcher.requested"),
        ("topology", "some.other.queue"),
    ],
)
async def test_nobody_reads_what_is_not_theirs(guarded: Guarded, user: str, queue: str) -> None:
    async with await aio_pika.connect(guarded.broker.url_of(user)) as connection:
        amqp_channel = await connection.channel()
        theirs = await amqp_channel.get_queue(queue, ensure=False)
        with pytest.raises(ChannelAccessRefused):
            await theirs.get(fail=False)


@pytest.mark.parametrize(
    ("user", "key"),
    [
        ("ingest-api", "notification.sent.email"),
        ("ingest-api", "notification.dispatched.sms.high"),
        ("ingest-api", "queue.sms-sender.high"),
        ("dispatcher", "notification.sent.push"),
        ("dispatcher", "notification.requested"),
        ("email-sender", "notification.sent.sms"),
        ("email-sender", "notification.dispatched.email.high"),
        ("sms-sender", "notification.failed.push"),
        ("sms-sender", "notification.sent.smsx"),
        ("push-sender", "notification.sent.email"),
        ("push-sender", "notification.requested"),
        ("push-sender", "queue.push-sender.high"),
        ("status-projector", "notification.sent.email"),
        ("status-projector", "notification.requested"),
        ("topology", "notification.sent.email"),
        ("operator", "notification.sent.email"),
    ],
)
async def test_nobody_publishes_what_is_not_theirs_to_tell(guarded: Guarded, user: str, key: str) -> None:
    async with await aio_pika.connect(guarded.broker.url_of(user)) as connection:
        amqp_channel = await connection.channel(publisher_confirms=True)
        events = await amqp_channel.get_exchange("wavecom.events", ensure=False)
        with pytest.raises(ChannelAccessRefused, match=key):
            await events.publish(aio_pika.Message(b""), key)


@pytest.mark.parametrize(
    ("user", "keys"),
    [
        ("ingest-api", ["notification.requested", "queue.dispatcher.requested"]),
        ("dispatcher", ["notification.sent.push", "notification.dispatched.sms.high", "queue.sms-sender.high"]),
        (
            "email-sender",
            [
                "notification.sent.email",
                "notification.dispatched.sms.high",
                "queue.sms-sender.high",
                "queue.email-senderx",
            ],
        ),
        ("sms-sender", ["notification.sent.push", "notification.requested", "queue.dispatcher.requested"]),
        ("push-sender", ["notification.sent.email", "notification.failed.push", "queue.status-projector.events"]),
        ("status-projector", ["notification.sent.email", "notification.dispatched.sms.low", "notification.failed.sms"]),
        ("topology", ["notification.sent.email", "notification.requested"]),
        ("operator", ["notification.sent.email", "notification.dispatched.push.high", "queue.status-projector.events"]),
        ("keda", ["notification.sent.email"]),
    ],
)
async def test_what_is_not_theirs_does_not_pass_through_a_wait_either(
    guarded: Guarded, user: str, keys: list[str]
) -> None:
    async with await aio_pika.connect(guarded.broker.url_of(user)) as connection:
        for wait, key in [(wait, key) for wait in _WAITS for key in keys]:
            # The broker closes it with each refusal.
            amqp_channel = await connection.channel(publisher_confirms=True)
            exchange = await amqp_channel.get_exchange(wait, ensure=False)
            with pytest.raises(ChannelAccessRefused, match=wait):
                await exchange.publish(aio_pika.Message(b""), key, mandatory=True)


@pytest.mark.parametrize(
    ("user", "waits", "key"),
    [
        ("dispatcher", _WAITS[:1], "queue.dispatcher.requested"),
        ("email-sender", _WAITS, "notification.dispatched.email.low"),
        ("sms-sender", _WAITS, "queue.sms-sender.medium"),
        ("push-sender", _WAITS, "notification.dispatched.push.high"),
        ("status-projector", _WAITS, "queue.dispatcher.requested"),
        ("status-projector", _WAITS, "queue.status-projector.events"),
        ("operator", _WAITS, "queue.email-sender.low"),
        ("topology", _WAITS, "notification.dispatched.email.low"),
        ("topology", _WAITS, "queue.email-sender.low"),
    ],
)
async def test_what_is_theirs_waits(waiting_room: GuardedBroker, user: str, waits: list[str], key: str) -> None:
    async with await aio_pika.connect(waiting_room.url_of(user)) as connection:
        amqp_channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        for wait in waits:
            exchange = await amqp_channel.get_exchange(wait, ensure=False)
            await exchange.publish(aio_pika.Message(b""), key, mandatory=True)


def test_a_scaler_sees_the_lengths_of_exactly_its_processs_queues(guarded: Guarded) -> None:
    declared = declared_queues(_MANIFESTS)
    with guarded.broker.as_user("keda") as api:
        for scaler in _MANIFESTS.of("ScaledObject"):
            metadata = scaler.spec["triggers"][0]["metadata"]
            # The question KEDA asks, to the letter.
            asked = {"page": 1, "use_regex": "true", "pagination": "false", "page_size": 100}
            named = f"^{re.escape(metadata['queueName'])}$" if "useRegex" not in metadata else metadata["queueName"]
            answer = api.get(f"/api/queues/{guarded.broker.vhost}", params={**asked, "name": named})
            found = {item["name"]: item.get("messages", 0) for item in answer.raise_for_status().json()["items"]}
            assert set(found) == set(PROCESSES[scaler.name].reads) <= declared
        assert api.delete(f"/api/queues/{guarded.broker.vhost}/dispatcher.requested").status_code in (401, 403)


def test_an_operator_looks_at_dead_letters(guarded: Guarded) -> None:
    assert "dispatcher.requested" in guarded.run("operator", "dead", "list")


def test_an_operator_checks_recovers_and_rebuilds(guarded: Guarded) -> None:
    assert "differences: none" in guarded.run("operator", "check")
    guarded.run("operator", "recover")
    assert "live: notifications_2" in guarded.run("operator", "rebuild")
    assert "live: notifications;" in guarded.run("operator", "rebuild", "--rollback")


async def test_the_projector_removes_what_is_old_with_its_rights(guarded: Guarded) -> None:
    now_ms = SYSTEM_CLOCK.now_ms() - 100 * 24 * 3600 * 1000
    old = a_request(notification_id=new_notification_id(now_ms), now_ms=now_ms)
    order = types.dispatched(old, attempt=1, now_ms=now_ms)
    history = [old, order, types.sent(order, provider="p", provider_message_id="", now_ms=now_ms)]
    database = Database(guarded.database.url_of("status-projector"), "wavecom")
    await EventStore(database).append(history)
    await LiveModel(database).merge(projection.fold(history))
    await database.close()

    # As its process does by and by.
    assert guarded.run("status-projector", "retention").strip() == "removed: 3 events, 1 sent"
    assert "differences: none" in guarded.run("operator", "check")
    assert "removed: " in guarded.run("operator", "retention", "--anew")


@pytest.mark.parametrize(
    ("user", "collection", "command"),
    [
        ("status-projector", "events", {"update": "events", "updates": [{"q": {}, "u": {"$set": {"x": 1}}}]}),
        ("status-projector", "deliveries", {"delete": "deliveries", "deletes": [{"q": {}, "limit": 0}]}),
        ("email-sender", "events", {"delete": "events", "deletes": [{"q": {}, "limit": 0}]}),
        ("status-projector", "deliveries", {"find": "deliveries"}),
        ("status-query", "notifications", {"insert": "notifications", "documents": [{"x": 1}]}),
        ("email-sender", "events", {"find": "events"}),
        ("ingest-api", "notifications", {"find": "notifications"}),
        ("schema", "events", {"find": "events"}),
    ],
)
def test_the_database_refuses_what_a_process_does_not_do(
    guarded: Guarded, user: str, collection: str, command: dict[str, Any]
) -> None:
    with (
        MongoClient[dict[str, Any]](guarded.database.url_of(user)) as client,
        pytest.raises(OperationFailure, match=f"not authorized on wavecom to execute command.*{collection}"),
    ):
        client["wavecom"].command(command)
