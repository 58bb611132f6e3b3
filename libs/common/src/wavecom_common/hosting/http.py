"""Serving an ASGI application as a part of a process."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from wavecom_common.kernel.errors import ConfigurationError
from wavecom_common.telemetry.logs import get_logger

# Of a request's first line and headers together. What the first read of the socket brings (256 KiB at most) is not
# counted: it is parsed by then.
MAX_HEAD_BYTES: Final = 64 * 1024
_HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)

_log = get_logger()


class _BoundedProtocol(HttpToolsProtocol):
    """The parser keeps headers and trailers that are not complete whatever their size; this ends the connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._incomplete_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._incomplete_bytes += len(data)
        # Sets it back when anything in the data is the end or the beginning of something.
        super().data_received(data)
        if self._incomplete_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            _log.warning("request_head_too_large")
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        self._incomplete_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._incomplete_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._incomplete_bytes = 0
        super().on_body(body)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals belong to the process, which drains its parts in order.
        yield


class HttpServer:
    """Serves `app` on `host:port` (0: any free one, see `port`) with uvicorn; a part of a process.

    Raises:
        ConfigurationError: at start, when the port is taken.
    """

    def __init__(self, app: ASGIApp, *, name: str, host: str, port: int) -> None:
        self.port = port
        self._name = name
        self._host = host
        self._server = _Server(
            uvicorn.Config(
                app,
                http=_BoundedProtocol,
                # Nothing here asks who the client is, so nothing has to trust what a proxy says of it.
                proxy_headers=False,
                access_log=False,
                log_config=None,
                lifespan="off",
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=None,
                backlog=2048,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bind the port and serve."""
        listener = self._bind()
        self.port = listener.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        _log.info("listening", server=self._name, host=self._host, port=self.port)

    def ready(self) -> str | None:
        """None once connections are taken."""
        return None if self._server.started and not self._server.should_exit else f"{self._name} is not listening"

    async def drain(self) -> None:
        """Close the port and finish the requests begun."""
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """End what is left."""
        self._server.force_exit = True
        await self.drain()

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self.port))
        except OSError as error:
            listener.close()
            raise ConfigurationError(
                f"{self._name}: cannot listen on {self._host}:{self.port}: {error.strerror}"
            ) from error
        return listener
