"""The proxy cuts what it is told to cut, and only that."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from wavecom_common.testing.tcp_proxy import TcpProxy
from wavecom_common.testing.waiting import eventually


class Client:
    """One connection through the proxy, to a server that says everything back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.port: int = writer.get_extra_info("sockname")[1]

    async def answer(self) -> bytes:
        """What comes back of two bytes; nothing when the link is gone."""
        try:
            self._writer.write(b"hi")
            return await self._reader.readexactly(2)
        except (OSError, asyncio.IncompleteReadError):
            return b""

    def close(self) -> None:
        self._writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[TcpProxy]:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with TcpProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()


@pytest.fixture
async def clients(proxy: TcpProxy) -> AsyncIterator[list[Client]]:
    clients = [Client(*await asyncio.open_connection("127.0.0.1", proxy.port)) for _ in range(3)]
    assert [await client.answer() for client in clients] == [b"hi"] * 3
    yield clients
    for client in clients:
        client.close()


async def test_only_the_links_of_the_ports_named_are_cut(proxy: TcpProxy, clients: list[Client]) -> None:
    assert proxy.cut({clients[0].port, clients[2].port}) == 2
    assert [await client.answer() for client in clients] == [b"", b"hi", b""]


async def test_without_ports_every_link_is_cut(proxy: TcpProxy, clients: list[Client]) -> None:
    assert proxy.cut() == 3
    assert [await client.answer() for client in clients] == [b""] * 3


async def test_where_nobody_has_such_a_port_nothing_is_cut(proxy: TcpProxy, clients: list[Client]) -> None:
    assert proxy.cut({proxy.port}) == proxy.cut(set()) == 0
    assert [await client.answer() for client in clients] == [b"hi"] * 3


async def test_a_link_that_was_cut_is_no_link_any_more(proxy: TcpProxy, clients: list[Client]) -> None:
    assert proxy.cut({clients[0].port}) == 1
    await eventually(lambda: proxy.cut({clients[0].port}) == 0)


async def test_a_partition_keeps_apart_the_ports_it_names_and_no_others(proxy: TcpProxy, clients: list[Client]) -> None:
    proxy.partition(lambda ports: {clients[1].port}.intersection(ports))
    late = asyncio.create_task(clients[1].answer())
    assert [await client.answer() for client in (clients[0], clients[2])] == [b"hi"] * 2
    assert not late.done()
    proxy.partition(None)
    assert await late == b"hi"


async def test_a_connection_opened_across_a_partition_never_reaches_the_server(proxy: TcpProxy) -> None:
    proxy.partition(lambda ports: ports)
    client = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.answer(), 0.2)
    proxy.partition(None)
    assert await client.answer() == b""
    client.close()
    there = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
    assert await there.answer() == b"hi"
    there.close()
