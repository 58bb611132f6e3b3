"""One connection to the broker that is opened again whenever it is lost.

aio-pika's robust connection restores each object it has seen; we open a fresh session instead, because a session that
is built in one place can't be restored half. Its errors, of many families, become one: `Unavailable`.
"""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, NoReturn

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError

from wavecom_common.kernel.backoff import reconnect_delays_s
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.messaging.nodes import in_turn, nodes_of
from wavecom_common.telemetry.logs import get_logger

CONNECT_TIMEOUT_S: Final = 10.0
# The same where the URL names several nodes: a frozen one accepts a connection and answers nothing.
NODE_TIMEOUT_S: Final = 3.0
# How long it may take to build on a new connection what a session needs, such as channels and consumers.
SETUP_LIMIT_S: Final = 10.0
# A process that is told to stop has several links to close, one after the other, and a broker may be silent.
_CLOSE_TIMEOUT_S: Final = 1.0
# A dead peer is noticed after three of these; what waits on it has time-outs of its own.
HEARTBEAT_S: Final = 10
# A session that lived this long ended a healthy time: the next wait starts small again.
_HEALTHY_AFTER_S: Final = 10.0

# What the client library raises when the link fails: of its own, of asyncio, and, when the broker hangs up during the
# handshake, that its iterator of frames has ended.
_LIBRARY_ERRORS: Final = (AMQPError, RuntimeError, TimeoutError, OSError, EOFError, StopAsyncIteration)

_log = get_logger()


@contextmanager
def broker_errors() -> Iterator[None]:
    """Raise what the client library throws at a lost or silent link as `Unavailable`.

    That includes a `CancelledError` nobody asked for: aiormq cancels what waits on a link it gives up.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise Unavailable("the broker's link was given up") from error
    except Exception as error:
        # aiormq also throws the bare base class at whoever waits on a link it gives up.
        if not isinstance(error, _LIBRARY_ERRORS) and type(error) is not Exception:
            raise
        raise Unavailable(f"the broker cannot be reached: {type(error).__name__}") from error


@asynccontextmanager
async def connected(
    url: str, name: str, *, failed: dict[str, float] | None = None
) -> AsyncIterator[AbstractConnection]:
    """A plain connection, closed at the end; `name` is shown in the broker's management.

    Where the URL names several nodes they are tried in turn, from a random one on, and those in `failed` last; it has
    the times of failures by node, and gets those that fail now.

    Raises:
        ConfigurationError: the URL is malformed.
        Unavailable: no connection to any node within ten seconds, or three each where there are several.
    """
    connection = await _connect(url, name, {} if failed is None else failed)
    try:
        yield connection
    finally:
        try:
            with broker_errors():
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await connection.close()
        except Unavailable:
            _log.debug("connection_was_gone", connection=name)


async def _connect(url: str, name: str, failed: dict[str, float]) -> AbstractConnection:
    nodes = nodes_of(url)
    errors: dict[str, str] = {}
    for node in in_turn(nodes, first=random.randrange(len(nodes)), failed=failed):
        try:
            with broker_errors():
                async with asyncio.timeout(CONNECT_TIMEOUT_S if len(nodes) == 1 else NODE_TIMEOUT_S):
                    connection = await aio_pika.connect(
                        node.url, heartbeat=HEARTBEAT_S, client_properties={"connection_name": name}
                    )
        except Unavailable as error:
            errors[node.name] = _reason(error)
            failed[node.name] = asyncio.get_running_loop().time()
        else:
            if errors:
                _log.warning("nodes_unreachable", connection=name, nodes=errors)
            return connection
    reasons = ", ".join(f"{node}: {reason}" for node, reason in errors.items())
    raise Unavailable(f"the broker cannot be reached ({reasons})", handed_over=False)


def _reason(error: BaseException) -> str:
    """The type of what the client library raised, or what TLS found wrong."""
    cause = found = error.__cause__
    seen: set[int] = set()
    # The library raises an error again and again while it handles it: the chain may have no end.
    while found is not None and not isinstance(found, ssl.SSLError) and id(found) not in seen:
        seen.add(id(found))
        found = found.__cause__ or found.__context__
    if isinstance(found, ssl.SSLCertVerificationError):
        return f"TLS, {found.verify_message}"
    return f"TLS, {found.reason}" if isinstance(found, ssl.SSLError) else type(cause).__name__


def node_of(connection: AbstractConnection) -> str:
    """The broker node at its other end, as host:port."""
    assert isinstance(connection, aio_pika.Connection)
    [node] = nodes_of(str(connection.url))
    return node.name


async def lost(connection: AbstractConnection, channel: AbstractChannel) -> NoReturn:
    """Wait for the end of the connection or the channel.

    Raises:
        Unavailable: one of them is closed, by whichever side; its text is the reason.
    """
    closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_close(_: object, error: BaseException | None = None) -> None:
        if not closed.done():
            closed.set_result(f"{type(error).__name__}: {error}" if error is not None else "closed")

    for end in (connection, channel):
        end.close_callbacks.add(on_close)
    raise Unavailable("closed" if connection.is_closed or channel.is_closed else await closed)


@asynccontextmanager
async def setting_up() -> AsyncIterator[None]:
    """Around what a session builds on a new connection.

    Raises:
        Unavailable: it took longer than `SETUP_LIMIT_S`.
    """
    try:
        async with asyncio.timeout(SETUP_LIMIT_S):
            yield
    except TimeoutError:
        raise Unavailable(f"the link was not set up within {SETUP_LIMIT_S:g} s") from None


async def stopped(stop: asyncio.Event) -> None:
    """Return when `stop` is set."""
    await stop.wait()


async def first_of(*endings: Coroutine[object, object, str | None]) -> str | None:
    """What the first of these returns or raises; the others are cancelled."""
    tasks = [asyncio.ensure_future(ending) for ending in endings]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task.done()).result()
    finally:
        for task in tasks:
            task.add_done_callback(_retrieve)
            task.cancel()


def _retrieve(task: asyncio.Task[str | None]) -> None:
    # One that failed at the same time as another: asyncio complains of an exception that is never looked at.
    if not task.cancelled():
        task.exception()


async def keep_session(
    url: str, name: str, session: Callable[[AbstractConnection], Awaitable[str | None]], stop: asyncio.Event
) -> None:
    """Run `session(connection)` until `stop` is set: when it returns or the link is lost, connect and run it again.

    A session that ends for a reason of its own returns it; that is logged, and so is a link that is lost. Where the URL
    names several nodes, those to which a link was lost are tried last. Waits between tries grow to five seconds. An
    error that is not the link's ends it.
    """
    loop = asyncio.get_running_loop()
    delays_s = reconnect_delays_s()
    failed: dict[str, float] = {}
    while not stop.is_set():
        started_s = loop.time()
        try:
            async with connected(url, name, failed=failed) as connection:
                node = node_of(connection)
                try:
                    with broker_errors():
                        cause = await session(connection)
                except Unavailable as error:
                    cause = str(error)
                    failed[node] = loop.time()
                if cause is not None and not stop.is_set():
                    _log.warning("link_lost", connection=name, node=node, cause=cause)
        except Unavailable as error:
            _log.warning("broker_unavailable", connection=name, error=str(error))
        if loop.time() - started_s > _HEALTHY_AFTER_S:
            delays_s = reconnect_delays_s()
        with suppress(TimeoutError):
            async with asyncio.timeout(next(delays_s)):
                await stop.wait()
