"""A link to the broker on which confirms get lost, one by one as a test wants it."""

import asyncio
from typing import Any

from wavecom_common.testing.tcp_proxy import TcpProxy

# The method of a confirm, Basic.Ack, by class and method; a publisher's link has no other.
_CONFIRM = b"\x00\x3c\x00\x50"


class ConfirmSwallowingProxy(TcpProxy):
    """Passes on `confirms_left` more confirms; from the next one on nothing comes back over its link. None: all."""

    confirms_left: int | None = None

    async def _pump(self, source: Any, sink: asyncio.StreamWriter) -> None:
        await super()._pump(_Filtered(source, self), sink)  # type: ignore[arg-type]

    def lets_pass(self, data: bytes) -> bool:
        """Whether these bytes go on; counts the confirms in them."""
        if self.confirms_left is None:
            return True
        self.confirms_left -= data.count(_CONFIRM)
        return self.confirms_left >= 0 or _CONFIRM not in data


class _Filtered:
    """A reader whose bytes the proxy may keep: then it is as if no more came."""

    def __init__(self, reader: asyncio.StreamReader, proxy: ConfirmSwallowingProxy) -> None:
        self._reader = reader
        self._proxy = proxy

    async def read(self, size: int) -> bytes:
        data = await self._reader.read(size)
        if not self._proxy.lets_pass(data):
            await asyncio.Event().wait()
        return data
