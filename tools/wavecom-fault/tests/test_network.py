"""A port mapper and a network, played for processes that are real."""

import asyncio
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import psutil
import pytest
from wavecom_common.testing.tcp_proxy import TcpProxy
from wavecom_common.testing.waiting import eventually
from wavecom_fault.network import Network
from wavecom_fault.port_mapper import PortMapper
from wavecom_stack.ports import free_ports

NAME = b"rabbitmq-1"
ALIVE = struct.pack(">BHBBHHH", 120, 5000, 77, 0, 6, 5, len(NAME)) + NAME + bytes(2)


@pytest.fixture
async def mapper() -> AsyncIterator[int]:
    port = next(free_ports())
    async with PortMapper(port, {5000: 6000}):
        yield port


async def ask(port: int, request: bytes) -> tuple[bytes, asyncio.StreamWriter]:
    """Its answer, as far as it comes in one piece; the connection stays open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(struct.pack(">H", len(request)) + request)
    return await reader.read(1000), writer


async def lookup(port: int) -> bytes:
    answer, writer = await ask(port, b"\x7a" + NAME)
    writer.close()
    return answer


async def test_a_node_is_looked_up_by_the_port_of_its_proxy_as_long_as_it_lives(mapper: int) -> None:
    assert await lookup(mapper) == bytes([119, 1])
    registered, node = await ask(mapper, ALIVE)
    assert registered[:2] == bytes([118, 0])
    assert (await lookup(mapper))[:4] == struct.pack(">BBH", 119, 0, 6000)
    names, writer = await ask(mapper, b"\x6e")
    assert names == struct.pack(">I", mapper) + b"name rabbitmq-1 at port 5000\n"
    writer.close()
    node.close()

    async def gone() -> bool:
        return await lookup(mapper) == bytes([119, 1])

    await eventually(gone)


# Says back what comes on the first port, and passes lines from its input on to the second and what comes back out.
PEER = """
import asyncio, sys
async def echo(reader, writer):
    while data := await reader.read(100):
        writer.write(data)
async def main():
    await asyncio.start_server(echo, "127.0.0.1", int(sys.argv[1]))
    print("up", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]))
    while True:
        writer.write(b"hi\\n")
        print((await reader.readline()).decode(), end="", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""


class Peer:
    """A process that serves, and talks to another through that one's proxy."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert process.stdin is not None
        self.pid = process.pid
        self._out = process.stdout
        self._in = process.stdin

    async def talk(self) -> bytes:
        self._in.write(b"\n")
        return await self._out.readline()

    async def up(self) -> None:
        assert await self._out.readline() == b"up\n"


async def test_a_server_is_cut_off_from_the_others_while_its_clients_reach_it() -> None:
    ports = free_ports()
    served = [next(ports) for _ in range(2)]
    async with AsyncExitStack() as ends:
        proxies = [await ends.enter_async_context(TcpProxy("127.0.0.1", port)) for port in served]
        peers = []
        for own, other in ((served[0], proxies[1]), (served[1], proxies[0])):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                PEER,
                str(own),
                str(other.port),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            ends.push_async_callback(process.wait)
            ends.callback(process.kill)
            peers.append(Peer(process))
            await peers[-1].up()
        network = Network({"a": proxies[0], "b": proxies[1]}, {"a": peers[0].pid, "b": peers[1].pid}.get)
        assert [await peer.talk() for peer in peers] == [b"hi\n"] * 2

        network.cut_off("a")
        late = [asyncio.create_task(peer.talk()) for peer in peers]
        reader, writer = await asyncio.open_connection("127.0.0.1", proxies[0].port)
        writer.write(b"client\n")
        assert await reader.readline() == b"client\n"
        writer.close()
        assert [one.done() for one in late] == [False, False]

        network.join()
        assert await asyncio.gather(*late) == [b"hi\n"] * 2


def test_a_server_that_does_not_run_has_no_links() -> None:
    dead = max(psutil.pids()) + 1_000_000
    for pid in (None, dead):
        Network({}, lambda _, pid=pid: pid).cut_off("a")
