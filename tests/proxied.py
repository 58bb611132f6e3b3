"""A proxy that misbehaves on demand, in front of a server that is known by its URL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from wavecom_common.testing.tcp_proxy import TcpProxy

AnyProxy = TypeVar("AnyProxy", bound=TcpProxy)


@asynccontextmanager
async def proxied(url: str, kind: type[AnyProxy] = TcpProxy) -> AsyncIterator[tuple[AnyProxy, str]]:  # type: ignore[assignment]
    """The proxy, and the server's URL through it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    login, at, _ = parts.netloc.rpartition("@")
    async with kind(parts.hostname, parts.port) as proxy:
        yield proxy, urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{proxy.port}"))
