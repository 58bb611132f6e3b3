"""The broker loses all its data under load: every notification in the event store still reaches its end."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx
import pytest
from status_projector.checker import Checker, Report
from wavecom_common.events import types
from wavecom_common.storage.client import Database
from wavecom_common.storage.event_store import EventStore
from wavecom_common.storage.read_model import ReadModel
from wavecom_common.testing.waiting import eventually
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
        return Counter((call["notificationId"], call["attempt"]) for call in map(json.loads, lines))


@pytest.fixture
def own_stack(mongodb_url: str, database_name: str, tmp_path: Path) -> Iterator[Own]:
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


@pytest.fixture
async def own(own_stack: Own) -> AsyncIterator[Own]:
    yield own_stack
    await own_stack.database.close()


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


def sent_again(output: str) -> dict[str, int]:
    """What a recovery said it sent, by kind."""
    return {kind: int(number.replace(",", "")) for kind, number in re.findall(r"^  (\w+): ([\d,]+)$", output, re.M)}


@pytest.mark.timeout(400)
async def test_after_a_total_loss_of_the_broker_everything_stored_reaches_its_end(own: Own) -> None:
    # More than have to be sent again: what a stopped process holds already, it handles when it goes on.
    async def attempts_wait() -> bool:
        return await own.stand_between(types.DISPATCHED, types.STARTED) > 60

    async def requests_wait() -> bool:
        return await own.stand_between(types.REQUESTED, types.DISPATCHED) > 60

    async with under_load(own) as accepted:
        await eventually(lambda: len(accepted) > 100, timeout_s=60)
        # What is in the queues of the one and of the other is lost with them.
        own.signal("sms-sender", signal.SIGSTOP)
        await eventually(attempts_wait, timeout_s=60)
        own.signal("dispatcher", signal.SIGSTOP)
        await eventually(requests_wait, timeout_s=60)
        await asyncio.to_thread(own.lose_everything)
        before = len(accepted)
        refused, said = await own.wavecom("recover")
        assert refused == 1
        assert "run `wavecom topology apply` first" in said
        assert (await own.wavecom("topology", "apply"))[0] == 0
        for name in ("dispatcher", "sms-sender"):
            own.signal(name, signal.SIGCONT)
        # It goes on by itself.
        await eventually(lambda: len(accepted) > before + 20, timeout_s=60)
    assert (await own.check()).open > 100

    dry = await own.wavecom("recover", "--dry-run")
    done = await own.wavecom("recover", "--rate", "1000")

    async def all_ended() -> bool:
        report = await own.check()
        return report.open == 0 and report.differing == 0

    await eventually(all_ended, timeout_s=120, what="the end of everything stored")
    assert (dry[0], done[0]) == (0, 0)
    kinds = sent_again(done[1])
    assert kinds["request"] > 30
    assert kinds["attempt"] > 20
    assert kinds.get("retry", 0) > 0

    requested = {notification_id for notification_id, _ in await own.stored(types.REQUESTED)}
    ended = {one for end in (types.SENT, types.FAILED) for one, _ in await own.stored(end)}
    assert requested <= ended
    unknown = await own.stored(types.OUTCOME_UNKNOWN)
    assert {attempt for attempt, times in own.calls.items() if times > 1} <= unknown
