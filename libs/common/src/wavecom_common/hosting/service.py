"""The life of a process: start the components, say how they are, drain them on a signal, end."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import uvloop

from wavecom_common.hosting.admin import admin_app
from wavecom_common.hosting.http import HttpServer
from wavecom_common.hosting.http_limits import HttpLimits
from wavecom_common.hosting.open_files import allow_open_files
from wavecom_common.hosting.settings import AnySettings, Settings
from wavecom_common.kernel.component import Component, Server
from wavecom_common.kernel.errors import ConfigurationError
from wavecom_common.kernel.tasks import VITAL
from wavecom_common.telemetry import logs, tracing
from wavecom_common.telemetry.logs import get_logger

_log = get_logger()

# Exit statuses, as sysexits.h has them.
EX_OK = 0
EX_CONFIG = 78

# Of the admin port: probes, Prometheus, an operator.
_ADMIN_LIMITS: Final = HttpLimits(connections=64)

# Objects made and not freed before the youngest are looked at; Python's own number is 700.
_COLLECT_AFTER: Final = 10_000


def main(
    name: str,
    settings_type: type[AnySettings],
    build: Callable[[AnySettings], Sequence[Component]],
    *,
    public: bool = False,
) -> None:
    """Run the process `name` until SIGTERM or SIGINT, then exit: 0; 78 for a wrong setting; 1 when a vital task died.

    `build` makes the components, inside the running event loop, without starting them. `public`: see `tracing.setup`.
    """
    try:
        settings = settings_type.load()
        logs.setup(name, settings.log_level)
        tracer = tracing.setup(name, public=public)
        with _pid_file(settings.pid_file):
            uvloop.run(run(name, settings, build))
        if tracer is not None:
            tracer.shutdown()
    except ConfigurationError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(EX_CONFIG)


async def run(name: str, settings: AnySettings, build: Callable[[AnySettings], Sequence[Component]]) -> None:
    """Start the components in order, wait for a signal, drain and close them in reverse order."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    deaths: list[str] = []

    def on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if VITAL in context:
            deaths.append(context[VITAL])
            stop.set()
        _log.error("loop_error", message=context["message"], exc_info=context.get("exception"))

    loop.set_exception_handler(on_loop_error)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    components = build(settings)

    def reasons(asked: Sequence[Component]) -> list[str]:
        if stop.is_set():
            return ["stopping"]
        return [reason for component in asked if (reason := component.ready()) is not None]

    servers = [component for component in components if isinstance(component, Server)]
    health = admin_app(lambda: reasons(components), lambda: reasons(servers))
    admin = HttpServer(health, name="admin", host=settings.admin_host, port=settings.admin_port, limits=_ADMIN_LIMITS)
    allow_open_files(sum(one.connections for one in (admin, *components) if isinstance(one, HttpServer)))
    begun: list[Component] = []
    try:
        for component in [admin, *components]:
            begun.append(component)
            await component.start()
        _leave_out_of_collections()
        _log.info("started", process=name, pid=os.getpid())
        await stop.wait()
        _log.info("stopping", process=name)
        await _drain(begun, settings)
    finally:
        for component in reversed(begun):
            await component.close()
        _log.info("stopped", process=name)
    if deaths:
        raise SystemExit(f"{name}: {deaths[0]} died; see the log")


def _leave_out_of_collections() -> None:
    """What is there when a process has started stays until it ends: the garbage collector need not look at it again.

    A full collection walked 100,000 objects of imported modules; now it walks what requests left behind, and less
    often, for nearly all of that is freed without it. Source: https://docs.python.org/3/library/gc.html#gc.freeze
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 50)


async def _drain(components: Sequence[Component], settings: Settings) -> None:
    try:
        async with asyncio.timeout(settings.drain_timeout_s):
            for component in reversed(components[1:]):
                await component.drain()
    except TimeoutError:
        _log.warning("drain_cut_short", after_s=settings.drain_timeout_s)


@contextmanager
def _pid_file(path: str | None) -> Iterator[None]:
    if path is None:
        yield
        return
    file = Path(path)
    file.write_text(f"{os.getpid()}\n")
    try:
        yield
    finally:
        # A successor may have written its own already.
        if file.exists() and file.read_text().strip() == str(os.getpid()):
            file.unlink()
