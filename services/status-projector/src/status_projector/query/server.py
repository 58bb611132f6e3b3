"""Serving StatusQuery over gRPC, with health checking and, for development, reflection."""

import asyncio
from typing import Final

import grpc
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.component import Component, Server
from wavecom_common.kernel.errors import ConfigurationError
from wavecom_common.kernel.tasks import cancel, spawn_vital
from wavecom_common.telemetry import rpc, tracing
from wavecom_common.telemetry.logs import get_logger
from wavecom_proto.v1 import status_pb2
from wavecom_proto.v1.status_pb2_grpc import StatusQueryServicer, add_StatusQueryServicer_to_server

SERVICE: Final = status_pb2.DESCRIPTOR.services_by_name["StatusQuery"].full_name
MAX_CONCURRENT_CALLS: Final = 1000
_HEALTH_INTERVAL_S: Final = 1.0
_DRAIN_S: Final = 3600.0  # the process has a deadline of its own, and cuts this short
_OPTIONS: Final = [
    # Clients look the name up again when a connection ends: so new servers get their share.
    ("grpc.max_connection_age_ms", 60_000),
    ("grpc.max_connection_age_grace_ms", 10_000),
    # Two servers on one port would share its calls by chance; the second one has to fail instead.
    ("grpc.so_reuseport", 0),
]

_log = get_logger()


class QueryServer(Server):
    """The gRPC server on `host:port` (0: any free one, see `port`); a component of a process.

    Its health, as gRPC clients ask for it, follows that of `depends_on`.
    """

    def __init__(
        self,
        servicer: StatusQueryServicer,
        depends_on: Component,
        *,
        host: str,
        port: int,
        reflects: bool = False,
        credentials: grpc.ServerCredentials | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.port = port
        self._host = host
        self._reflects = reflects
        self._servicer = servicer
        self._depends_on = depends_on
        self._credentials = credentials
        self._clock = clock
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._health_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bind the port and serve.

        Raises:
            ConfigurationError: the port is taken.
        """
        server = grpc.aio.server(
            interceptors=[rpc.ServerSpans()] if tracing.wanted() else [],
            options=_OPTIONS,
            maximum_concurrent_rpcs=MAX_CONCURRENT_CALLS,
        )
        add_StatusQueryServicer_to_server(self._servicer, server)
        add_HealthServicer_to_server(self._health, server)
        if self._reflects:
            reflection.enable_server_reflection([SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
        try:
            self.port = self._listen(server, f"{self._host}:{self.port}")
        except RuntimeError:
            raise ConfigurationError(f"query server: cannot listen on {self._host}:{self.port}") from None
        await server.start()
        self._server = server
        self._health_task = spawn_vital(self._tell_health(), "query server health")
        _log.info("listening", server="query", host=self._host, port=self.port)

    def _listen(self, server: grpc.aio.Server, address: str) -> int:
        if self._credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, self._credentials)

    def ready(self) -> str | None:
        """None once calls are taken."""
        return None if self._server is not None else "query server is not listening"

    async def drain(self) -> None:
        """Take no new calls and finish those begun."""
        await self._health.enter_graceful_shutdown()
        if self._server is not None:
            await self._server.stop(grace=_DRAIN_S)

    async def close(self) -> None:
        """End what is left."""
        await cancel(self._health_task)
        if self._server is not None:
            await self._server.stop(grace=0)

    async def _tell_health(self) -> None:
        while True:
            serving = self._depends_on.ready() is None
            status = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
            for service in (health.OVERALL_HEALTH, SERVICE):
                await self._health.set(service, status)
            await self._clock.sleep(_HEALTH_INTERVAL_S)
