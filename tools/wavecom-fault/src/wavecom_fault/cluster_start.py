"""Starting the system on several servers of each kind, with a network between those that can be cut."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from wavecom_common.testing.tcp_proxy import TcpProxy
from wavecom_stack.folder import RunFolder
from wavecom_stack.infra import MONGODB_URL, RABBITMQ_URL, Infra, Say, servers
from wavecom_stack.mongodb import PrivateDatabase, set_url
from wavecom_stack.ports import LOOPBACK, free_ports, is_free
from wavecom_stack.rabbitmq import PrivateBroker
from wavecom_stack.services import SERVICES
from wavecom_stack.stack import Stack
from wavecom_stack.up import start

from wavecom_fault.cluster import Cluster
from wavecom_fault.network import Network
from wavecom_fault.port_mapper import PortMapper
from wavecom_fault.system import SETTINGS

COUNT: Final = 3


@dataclass(frozen=True, slots=True)
class Shape:
    """How large the system is: copies of each process; a database that is there already, instead of three of ours."""

    copies: int = 2
    mongodb_url: str | None = None
    database: str = "wavecom"


@asynccontextmanager
async def running(folder: Path, say: Say, shape: Shape) -> AsyncIterator[Cluster]:
    """A fresh system in `folder`; nothing of it is left at the end.

    Raises:
        StackError: it can't be started.
    """
    calls_file = folder / "calls.jsonl"
    calls_file.unlink(missing_ok=True)
    server_folder = RunFolder(folder / "servers")
    infra_stack = Stack(server_folder, os.environ, say)
    await asyncio.to_thread(infra_stack.stop)  # of a run that was killed
    async with AsyncExitStack() as ends:
        infra, networks = await _planned(server_folder, ends, say, shape)
        ends.push_async_callback(asyncio.to_thread, infra_stack.stop)
        say(f"Starting {', '.join(server.name for server in infra.private)} ...")
        await asyncio.to_thread(infra_stack.start_infra, planned=infra)
        processes = Stack(RunFolder(folder / "system"), _environment(infra, calls_file, shape), say)
        ends.push_async_callback(asyncio.to_thread, processes.stop)
        state = await asyncio.to_thread(start, processes, say)
        cluster = Cluster(infra_stack, infra, state, networks, calls_file)
        watch = asyncio.create_task(cluster.watch_network())
        ends.callback(watch.cancel)
        yield cluster


def _environment(infra: Infra, calls_file: Path, shape: Shape) -> dict[str, str]:
    ports = (port for port in free_ports() if all(is_free(port + more) for more in range(shape.copies)))
    return {
        **os.environ,
        **SETTINGS,
        **{f"WAVECOM_COPIES_{one.name.upper().replace('-', '_')}": str(shape.copies) for one in SERVICES},
        RABBITMQ_URL: infra.broker_url,
        MONGODB_URL: infra.mongodb_url,
        "WAVECOM_MONGODB_DATABASE": shape.database,
        "WAVECOM_SIMULATED_CALLS_FILE": str(calls_file),
        "WAVECOM_HTTP_PORT": str(next(ports)),
        "WAVECOM_GRPC_PORT": str(next(ports)),
    }


async def _planned(
    folder: RunFolder, ends: AsyncExitStack, say: Say, shape: Shape
) -> tuple[Infra, tuple[Network, Network]]:
    """The servers, and the running networks between them."""
    broker, mongod = await asyncio.to_thread(servers, folder, say)
    ports = free_ports()
    port_mapper = next(ports)
    brokers = PrivateBroker.plan_cluster(broker, folder, ports, COUNT, port_mapper)
    nodes = {one.name: await _proxy(one.distribution_port, ends) for one in brokers}
    proxies = {one.distribution_port: nodes[one.name].port for one in brokers}
    await ends.enter_async_context(PortMapper(port_mapper, proxies))
    names = [] if shape.mongodb_url else [f"mongodb-{number}" for number in range(1, COUNT + 1)]
    database_ports = {name: next(ports) for name in names}
    members = {name: await _proxy(port, ends) for name, port in database_ports.items()}
    places = tuple(f"{LOOPBACK}:{proxy.port}" for proxy in members.values())
    infra = Infra(
        broker_url=broker_url(brokers),
        management_url=brokers[0].management_url,
        mongodb_url=shape.mongodb_url or set_url(places),
        private=[*brokers, *[PrivateDatabase(mongod, folder, at, name, places) for name, at in database_ports.items()]],
    )
    return infra, (Network(nodes, _pids(folder)), Network(members, _pids(folder)))


def _pids(folder: RunFolder) -> Callable[[str], int | None]:
    def pid(name: str) -> int | None:
        file = folder.pid(name)
        text = file.read_text().strip() if file.exists() else ""
        return int(text) if text and psutil.pid_exists(int(text)) else None

    return pid


async def _proxy(port: int, ends: AsyncExitStack) -> TcpProxy:
    return await ends.enter_async_context(TcpProxy(LOOPBACK, port))


def broker_url(brokers: Sequence[PrivateBroker]) -> str:
    """One address of all nodes."""
    login = brokers[0].url.removesuffix("/").rpartition("@")[0]
    return f"{login}@{','.join(f'{LOOPBACK}:{one.amqp_port}' for one in brokers)}/"
