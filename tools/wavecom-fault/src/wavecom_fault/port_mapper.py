"""Erlang's port mapper, played: nodes that look each other up are given the address of a proxy between them.

Source: https://www.erlang.org/doc/apps/erts/erl_dist_protocol.html#epmd-protocol
"""

import asyncio
import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Final, Self

from wavecom_stack.ports import LOOPBACK

_REGISTERED: Final = 118
_FOUND: Final = 119
# Node type, protocol, highest and lowest version of the distribution: an Erlang node of release 23 or newer over TCP.
_KIND: Final = struct.pack(">BBHH", 77, 0, 6, 5)


class _Request(IntEnum):
    ALIVE = 120
    LOOKUP = 122
    NAMES = 110


class PortMapper:
    """Knows the running nodes by name, each as long as it holds its connection.

    Args:
        port: where it listens, on the loopback address.
        proxies: by the port at which a node listens, the one that others are told; else its own.
    """

    def __init__(self, port: int, proxies: Mapping[int, int]) -> None:
        self._port = port
        self._proxies = proxies
        self._nodes: dict[bytes, int] = {}
        self._creation = 0
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            match request[0]:
                case _Request.ALIVE:
                    await self._hold(request, reader, writer)
                case _Request.LOOKUP:
                    writer.write(self._lookup(request[1:]))
                case _Request.NAMES:
                    writer.write(self._names())
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _hold(self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Register a node until it hangs up."""
        name = request[11 : 11 + int.from_bytes(request[9:11], "big")]
        self._nodes[name] = int.from_bytes(request[1:3], "big")
        self._creation += 1
        writer.write(struct.pack(">BBI", _REGISTERED, 0, self._creation))
        try:
            while await reader.read(100):
                pass
        finally:
            self._nodes.pop(name, None)

    def _lookup(self, name: bytes) -> bytes:
        port = self._nodes.get(name)
        if port is None:
            return struct.pack(">BB", _FOUND, 1)
        told = self._proxies.get(port, port)
        return struct.pack(">BBH", _FOUND, 0, told) + _KIND + struct.pack(">H", len(name)) + name + bytes(2)

    def _names(self) -> bytes:
        lines = b"".join(b"name %s at port %d\n" % (name, port) for name, port in self._nodes.items())
        return struct.pack(">I", self._port) + lines
