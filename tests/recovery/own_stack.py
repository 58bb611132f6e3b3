"""The whole system on a broker that nobody else uses, so that it may be killed and wiped, and a load on it."""

import asyncio
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx
import orjson
from status_projector.model.read_model import ReadModel
from status_projector.recovery.checker import Checker, Report
from status_projector.store.event_store import EventStore
from wavecom_common.storage.client import Database
from wavecom_stack import packages, rabbitmq
from wavecom_stack.folder import RunFolder
from wavecom_stack.infra import MONGODB_URL, RABBITMQ_URL
from wavecom_stack.ports import free_ports
from wavecom_stack.services import Process
from wavecom_stack.stack import Stack
from wavecom_stack.waiting import wait_until

RECIPIENTS = {"email": "user@example.com", "sms": "+15551234567", "push": "device-token-0001"}


@dataclass(frozen=True)
class Own:
    """The whole system, on a broker that nobody else uses."""

    stack: Stack
    broker: rabbitmq.PrivateBroker
    processes: Sequence[Process]
    environment: dict[str, str]
    database: Database

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{next(process.port for process in self.processes if process.name == 'ingest-api')}"

    def signal(self, name: str, number: signal.Signals) -> None:
        os.kill(self.stack.supervisor.pid(name), number)

    def kill_broker(self) -> None:
        """SIGKILL; its supervisor starts it again. Returns when it is ready."""
        before = self.stack.supervisor.pid("rabbitmq")
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: None if self.stack.supervisor.pid("rabbitmq") != before else "killed", timeout_s=60)
        wait_until(self.broker.not_ready, timeout_s=120)

    def lose_everything(self) -> None:
        """Stop the broker, wipe what it stored, start it empty."""
        self.stack.supervisor.stop_program("rabbitmq")
        stored = self.stack.folder.data("rabbitmq") / "node"
        assert any(stored.iterdir())
        shutil.rmtree(stored)
        self.broker.prepare()
        self.stack.supervisor.start_program("rabbitmq")
        wait_until(self.broker.not_ready, timeout_s=120)

    async def wavecom(self, *arguments: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "wavecom_cli", *arguments),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    async def check(self) -> Report:
        return await Checker(EventStore(self.database), ReadModel(self.database), settle_s=0).run()

    async def stored(self, event_type: str) -> set[tuple[str, int]]:
        """The notifications and attempts of which such an event is stored."""
        return {
            (event.notification_id, event.attempt)
            async for event in EventStore(self.database).stream()
            if event.type == event_type
        }

    async def stand_between(self, reached: str, missing: str) -> int:
        """How many notifications have an event of the one type stored and none of the other."""
        have = {notification_id for notification_id, _ in await self.stored(reached)}
        return len(have - {notification_id for notification_id, _ in await self.stored(missing)})

    @property
    def calls(self) -> Counter[tuple[str, int]]:
        lines = (self.stack.folder.root / "calls").read_text().splitlines()
        return Counter((call["notificationId"], call["attempt"]) for call in map(orjson.loads, lines))


@contextmanager
def own_stack(mongodb_url: str, database_name: str, tmp_path: Path, more: Mapping[str, str]) -> Iterator[Own]:
    """Started, and stopped at the end."""
    folder, ports = RunFolder(tmp_path / "run"), free_ports()
    if rabbitmq.find_server() is None:
        packages.install(["rabbitmq-server"], tmp_path / "install.log", print)
    server = rabbitmq.find_server()
    assert server is not None
    broker = rabbitmq.PrivateBroker.plan(server, folder, ports)
    environment = {
        **os.environ,
        RABBITMQ_URL: broker.url,
        MONGODB_URL: mongodb_url,
        "WAVECOM_MONGODB_DATABASE": database_name,
        "WAVECOM_HTTP_PORT": str(next(ports)),
        "WAVECOM_GRPC_PORT": str(next(ports)),
        "WAVECOM_SIMULATED_SUCCESS_RATE": "0.6",
        "WAVECOM_SIMULATED_MIN_DELAY_MS": "0",
        "WAVECOM_SIMULATED_MAX_DELAY_MS": "0",
        "WAVECOM_SIMULATED_CALLS_FILE": str(folder.root / "calls"),
        "WAVECOM_RETRY_BASE_DELAY_S": "2",
        "WAVECOM_RETRY_LEVELS": "2",
        **more,
    }
    stack = Stack(folder, environment, print)
    processes = stack.plan_services()
    try:
        folder.create()
        broker.prepare()
        stack.start_infra([*broker.programs(), *stack.service_programs(processes)])
        for program in broker.programs():
            stack.supervisor.start_stage(program.stage)
        wait_until(broker.not_ready, timeout_s=120)
        stack.run_command("topology", "apply")
        stack.run_command("database", "apply")
        stack.start_services(processes)
        yield Own(stack, broker, processes, environment, Database(mongodb_url, database_name))
    finally:
        stack.stop()


@asynccontextmanager
async def under_load(own: Own) -> AsyncIterator[list[str]]:
    """Requests all the time, some at once; the ids of those that were accepted."""
    accepted, stop, numbers = list[str](), asyncio.Event(), count()

    async def ask(api: httpx.AsyncClient) -> None:
        while not stop.is_set():
            channel = ("email", "sms", "push")[next(numbers) % 3]
            body = {"channel": channel, "recipient": RECIPIENTS[channel], "message": "Your order has been shipped!"}
            answer = await api.post("/api/notifications", json=body)
            assert answer.status_code in {201, 503}
            if answer.status_code == 201:
                accepted.append(answer.json()["data"]["id"])
            with_a_pause = asyncio.ensure_future(stop.wait())
            await asyncio.wait([with_a_pause], timeout=0.02)
            with_a_pause.cancel()

    async with httpx.AsyncClient(base_url=own.api_url, timeout=60) as api:
        asking = [asyncio.create_task(ask(api)) for _ in range(6)]
        try:
            yield accepted
        finally:
            stop.set()
            await asyncio.gather(*asking)
