"""The system under fault: its servers apart from its processes, with a network between them that can be cut."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import psutil
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.topology import message_counts
from wavecom_common.testing.tcp_proxy import TcpProxy
from wavecom_stack.errors import StackError
from wavecom_stack.folder import RunFolder
from wavecom_stack.infra import MONGODB_URL, RABBITMQ_URL, Infra
from wavecom_stack.ports import free_ports
from wavecom_stack.stack import Stack
from wavecom_stack.state import State
from wavecom_stack.up import start

from wavecom_fault.matrix import SERVERS, Fault, Strike

# Faults often hit a call that is under way, and retries come soon; a dead sender's attempts are taken over in 3 s.
SETTINGS: Final = {
    "WAVECOM_SIMULATED_SUCCESS_RATE": "0.9",
    "WAVECOM_SIMULATED_MIN_DELAY_MS": "20",
    "WAVECOM_SIMULATED_MAX_DELAY_MS": "200",
    "WAVECOM_RETRY_BASE_DELAY_S": "1",
    "WAVECOM_RETRY_LEVELS": "3",
    "WAVECOM_LEASE_S": "3",
    "WAVECOM_DRAIN_TIMEOUT_S": "10",
}


class Missed(StackError):
    """There was nothing to strike at that moment."""


class Watched:
    """A running system, seen from outside."""

    def __init__(self, infra: Infra, state: State, calls_file: Path) -> None:
        self.state = state
        self.infra = infra
        self.calls_file = calls_file

    async def not_ready(self) -> Sequence[str]:
        """The processes that do not say that they are ready."""
        async with httpx.AsyncClient(timeout=2) as client:
            answers = await asyncio.gather(
                *[client.get(f"{url}/health/ready") for url in self.state.admin_urls.values()], return_exceptions=True
            )
        return [
            name
            for name, answer in zip(self.state.admin_urls, answers, strict=True)
            if isinstance(answer, BaseException) or answer.status_code != 200
        ]

    async def messages(self) -> int:
        """Messages in all queues, dead letters included, and those in a reader's hand (known some seconds late)."""
        queues = await self.queues()
        async with connected(self.infra.broker_url, "wavecom-fault") as connection:
            ready = await message_counts(connection, [queue["name"] for queue in queues])
        in_hand = sum(int(queue.get("messages_unacknowledged", 0)) for queue in queues)
        return in_hand + sum(count or 0 for count in ready.values())

    async def queues(self) -> Sequence[dict[str, Any]]:
        """Every queue, as the management API of the broker shows it (some seconds old).

        Raises:
            httpx.HTTPError: it does not answer.
        """
        assert self.infra.management_url is not None
        async with httpx.AsyncClient(base_url=self.infra.management_url, timeout=10) as api:
            found: list[dict[str, Any]] = (await api.get("/api/queues")).raise_for_status().json()
        return found

    def calls(self) -> int:
        """Provider calls so far, by the provider's own record."""
        if not self.calls_file.exists():
            return 0
        with self.calls_file.open("rb") as lines:
            return sum(1 for _ in lines)


class System(Watched):
    """A running system and the means to hurt it."""

    def __init__(
        self, folder: Path, infra: Infra, state: State, proxies: dict[str, TcpProxy], calls_file: Path
    ) -> None:
        super().__init__(infra, state, calls_file)
        self._folder = folder
        self._proxies = proxies
        self._own = {program.name for server in infra.private for program in server.programs()}
        # By victim: the process that was told to end, and those that stand still.
        self._ended: dict[str, int] = {}
        self._held: set[str] = set()

    async def strike(self, strike: Strike) -> None:
        """Do it. Returns when the fault is over; a killed process is started again by its supervisor.

        Raises:
            Missed: the victim does not run just now, stands still, or has no link to cut.
            StackError: it is not ours to kill.
        """
        if strike.victim in self._held:
            raise Missed(f"{strike.victim} stands still.")
        match strike.fault:
            case Fault.KILL:
                self._end(strike.victim, signal.SIGKILL)
            case Fault.TERM:
                self._end(strike.victim, signal.SIGTERM)
            case Fault.STOP:
                await self._hold(strike.victim, strike.hold_s)
            case Fault.CUT:
                self._cut(strike.victim)

    def _pid(self, victim: str) -> int:
        if victim in SERVERS and victim not in self._own:
            raise StackError(
                f"{victim} is not a process of ours, so it can't be killed.",
                "Run the fault matrix with servers of its own: without WAVECOM_RABBITMQ_URL and WAVECOM_MONGODB_URL.",
            )
        file = self._folder / ("servers" if victim in SERVERS else "system") / f"{victim}.pid"
        text = file.read_text().strip() if file.exists() else ""
        # The file of a killed process is there until the next one writes its own.
        if not text or int(text) == self._ended.get(victim) or not psutil.pid_exists(int(text)):
            raise Missed(f"{victim} does not run just now.")
        return int(text)

    def _end(self, victim: str, number: signal.Signals) -> None:
        self._ended[victim] = pid = self._pid(victim)
        os.kill(pid, number)

    async def _hold(self, victim: str, seconds: float) -> None:
        pid = self._pid(victim)
        self._held.add(victim)
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)  # noqa: TID251 - this long it stands still
        finally:
            os.kill(pid, signal.SIGCONT)
            self._held.discard(victim)

    def _cut(self, victim: str) -> None:
        """Abort the victim's links: all that a server has, or a process's own to either server.

        Raises:
            Missed: there was none.
        """
        if victim in SERVERS:
            cut = self._proxies[victim].cut()
        else:
            links = [link for link in psutil.Process(self._pid(victim)).net_connections("tcp") if link.raddr]
            cut = sum(
                proxy.cut({link.laddr.port for link in links if link.raddr.port == proxy.port})
                for proxy in self._proxies.values()
            )
        if not cut:
            raise Missed(f"{victim} has no link that could be cut.")


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[System]:
    """A fresh system in `folder`; nothing of it is left at the end.

    Raises:
        StackError: it can't be started.
    """
    calls_file = folder / "calls.jsonl"
    calls_file.unlink(missing_ok=True)
    servers = Stack(RunFolder(folder / "servers"), os.environ, lambda _: None)
    async with AsyncExitStack() as ends:
        ends.callback(servers.stop)
        infra = await asyncio.to_thread(servers.start_infra)
        proxies = {name: await ends.enter_async_context(_proxy(url)) for name, url in _urls(infra).items()}
        ports = free_ports()
        environment = {
            **os.environ,
            **SETTINGS,
            RABBITMQ_URL: _through(proxies["rabbitmq"], infra.broker_url),
            MONGODB_URL: _through(proxies["mongodb"], infra.mongodb_url),
            "WAVECOM_SIMULATED_CALLS_FILE": str(calls_file),
            "WAVECOM_HTTP_PORT": str(next(ports)),
            "WAVECOM_GRPC_PORT": str(next(ports)),
        }
        processes = Stack(RunFolder(folder / "system"), environment, lambda _: None)
        ends.push_async_callback(asyncio.to_thread, processes.stop)
        state = await asyncio.to_thread(start, processes, lambda _: None)
        yield System(folder, infra, state, proxies, calls_file)


def _urls(infra: Infra) -> dict[str, str]:
    return {"rabbitmq": infra.broker_url, "mongodb": infra.mongodb_url}


def _proxy(url: str) -> TcpProxy:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return TcpProxy(parts.hostname, parts.port)


def _through(proxy: TcpProxy, url: str) -> str:
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{proxy.port}"))
