"""A TCP proxy that misbehaves on demand, between a client and a real server."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Self, TypeAlias

# Of these clients, by their local ports, those that are kept apart from the server.
Apart: TypeAlias = Callable[[Collection[int]], Collection[int]]


class TcpProxy:
    """Listens on a free port of the loopback address and passes bytes on to `host:port`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        # Both ends of every link, each with the port the client has at its own end.
        self._writers: dict[asyncio.StreamWriter, int] = {}
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        # By the client's port: set while bytes flow.
        self._flows: dict[int, asyncio.Event] = {}
        self._stalled: Apart = _none
        self._drops_new = False
        self._refusing = False
        # How long bytes are held back: either way, and on their way from the server alone.
        self.delay_s = 0.0
        self.answer_delay_s = 0.0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._stall(_none)
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, client_ports: Collection[int] | None = None) -> int:
        """Abort the connections of the clients with these local ports, or every one there is; how many there were."""
        chosen = [
            (writer, port) for writer, port in self._writers.items() if client_ports is None or port in client_ports
        ]
        for writer, _ in chosen:
            writer.transport.abort()
        return len({port for _, port in chosen})

    def refuse(self, refusing: bool) -> None:
        """Whether new connections are dropped at once."""
        self._refusing = refusing

    def blackhole(self, swallowing: bool) -> None:
        """Whether bytes stop to flow, both ways, while connections stay open."""
        self._drops_new = False
        self._stall(_all if swallowing else _none)

    def partition(self, apart: Apart | None) -> None:
        """Keep some clients apart from the server, as a network does that loses their packets; None ends it.

        What they sent meanwhile over links that were open arrives late; connections they tried to open never do.

        Args:
            apart: asked now, of all clients, and of each one that connects later.
        """
        self._drops_new = apart is not None
        self._stall(apart or _none)

    def _stall(self, apart: Apart) -> None:
        self._stalled = apart
        stalled = apart(self._flows)
        for port, flows in self._flows.items():
            flows.clear() if port in stalled else flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = writer.get_extra_info("peername")  # None when it has hung up already
        if self._refusing or client is None:
            writer.transport.abort()
            return
        self._flows[client[1]] = flows = asyncio.Event()
        if client[1] not in self._stalled([client[1]]):
            flows.set()
        elif self._drops_new:
            await flows.wait()
            self._flows.pop(client[1], None)
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            self._flows.pop(client[1], None)
            writer.transport.abort()
            return
        self._clients.add(writer)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._writers[sink] = client[1]
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        flows = self._flows[self._writers[sink]]
        with suppress(OSError):
            while data := await source.read(65_536):
                await flows.wait()
                if delay_s := self.delay_s + (self.answer_delay_s if sink in self._clients else 0.0):
                    await asyncio.sleep(delay_s)  # noqa: TID251 - a slow network is what it plays
                sink.write(data)
                await sink.drain()
        self._clients.discard(sink)
        port = self._writers.pop(sink, None)
        if port is not None and port not in self._writers.values():
            self._flows.pop(port, None)
        sink.close()


def _all(ports: Collection[int]) -> Collection[int]:
    return ports


def _none(_ports: Collection[int]) -> Collection[int]:
    return ()
