"""Serving an ASGI application as a component of a process."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from wavecom_common.hosting.http_limits import Connections, HttpLimits
from wavecom_common.hosting.http_protocol import BoundedProtocol
from wavecom_common.kernel.component import Server
from wavecom_common.kernel.errors import ConfigurationError
from wavecom_common.telemetry.logs import get_logger

_log = get_logger()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals belong to the process, which drains its components in order.
        yield


class HttpServer(Server):
    """Serves `app` on `host:port` (0: any free one, see `port`) with uvicorn; a component of a process.

    The process has to allow itself an open file for each of its `connections`: see `open_files`.

    Raises:
        ConfigurationError: at start, when the port is taken.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        name: str,
        host: str,
        port: int,
        limits: HttpLimits = HttpLimits(),  # noqa: B008 - frozen
    ) -> None:
        self.port = port
        self._name = name
        self._host = host
        self.connections = limits.connections
        self._server = _Server(
            uvicorn.Config(
                app,
                http=partial(BoundedProtocol, Connections(name, limits)),  # type: ignore[arg-type]
                # Else a library that happens to be installed would take connections over, past the limits.
                ws="none",
                timeout_keep_alive=limits.idle_s,
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
