"""Ways to a provider, which deliveries hold while they call: opened while some wait for one, given out by priority."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from wavecom_common.delivery.outage import Outage
from wavecom_common.delivery.port import Adapter, Attempt, ConnectedAdapter, Connection, NotReady
from wavecom_common.delivery.slots import Slots
from wavecom_common.events.outcomes import DeliveryOutcome
from wavecom_common.kernel.retrying import until_available
from wavecom_common.telemetry import metrics

# For DNS, TCP, TLS, the greeting and the login together.
READY_TIMEOUT_S: Final = 10.0


class Line(Protocol):
    """A ready way to the provider, held by one delivery."""

    @property
    def handed_over(self) -> bool:
        """Whether the latest call may have taken effect, when it did not return; see `port.Connection`."""
        ...

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        """Make the call; see `port.Connection`."""
        ...

    async def replace(self, stop: asyncio.Event) -> None:
        """Wait for another connection in place of one that broke before a call was handed over.

        Raises:
            Draining: `stop` was set before there was one.
        """
        ...

    def release(self) -> None:
        """Give it back; once more does nothing."""
        ...


class Unconnected:
    """Lines to an adapter that carries any number of calls: all are this one, and there is no wait for it."""

    # Of its calls it is not known.
    handed_over = True
    # It has no outages of its own.
    unavailable: str | None = None

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    async def acquire(self, _: str, at_most: int) -> Sequence[Line]:
        """So many lines."""
        return [self] * at_most

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        """Make the call."""
        return await self._adapter.deliver(attempt)

    async def replace(self, stop: asyncio.Event) -> None:
        """Nothing to replace."""

    def release(self) -> None:
        """Nothing to give back."""

    def close(self) -> None:
        """Nothing to close."""


class Connections:
    """Lines to an adapter that needs a connection for each call: no more at once than its capacity.

    Connections are opened only while deliveries wait for one; a delivery that waits has claimed nothing yet. While the
    provider is away a single try at a time is made, with growing pauses, and the waiting go on waiting.
    """

    def __init__(self, adapter: ConnectedAdapter) -> None:
        self._adapter = adapter
        self._outage = Outage(adapter.name)
        self._waiting = metrics.PROVIDER_WAITING.labels(adapter.name)
        # As many are free as there are in `_ready`.
        self._turns = Slots(0)
        self._ready: list[Connection] = []
        self._wanted = 0
        self._lent = 0
        self._opening: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None

    @property
    def unavailable(self) -> str | None:
        """Why no connection can be had now; None while that is not known, or one can."""
        return self._outage.cause

    async def acquire(self, priority: str, at_most: int) -> Sequence[Line]:
        """Wait for a turn among the priorities and for connections: those ready then, at least one."""
        self._want(at_most)
        try:
            count = await self._turns.acquire(priority, at_most)
        finally:
            self._want(-at_most)
        self._lent += count
        return [_Lent(self, self._ready.pop()) for _ in range(count)]

    async def connect(self) -> Connection:
        """A connection that is ready, within `READY_TIMEOUT_S`.

        Raises:
            NotReady: there is none; counted, and logged when it is news.
        """
        try:
            connection = await self._get_ready()
        except NotReady as error:
            self._outage.failed(error)
            raise
        self._outage.over()
        return connection

    def returned(self) -> None:
        """A line was released: another may take its place."""
        self._lent -= 1
        self._open_more()

    def close(self) -> None:
        """Open no more connections."""
        for task in self._opening:
            task.cancel()
        if self._pause is not None:
            self._pause.cancel()

    def _want(self, more: int) -> None:
        self._wanted += more
        self._waiting.set(self._wanted)
        self._open_more()

    def _open_more(self) -> None:
        if self._pause is not None:
            return
        at_once = 1 if self._outage.cause else self._adapter.capacity
        while (
            len(self._opening) < min(at_once, self._wanted - len(self._ready))
            and self._lent + len(self._ready) + len(self._opening) < self._adapter.capacity
        ):
            task = asyncio.get_running_loop().create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opened)

    async def _open(self) -> None:
        try:
            connection = await self.connect()
        except NotReady:
            if self._pause is None:
                self._pause = asyncio.get_running_loop().call_later(self._outage.pause_s(), self._go_on)
            return
        if self._wanted > len(self._ready):
            self._ready.append(connection)
            self._turns.release()
        else:
            connection.give_back()

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if not task.cancelled():
            task.result()
            self._open_more()

    def _go_on(self) -> None:
        self._pause = None
        if self._wanted:
            self._open_more()
        else:
            self._outage.over()

    async def _get_ready(self) -> Connection:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                return await self._adapter.ready()
        except NotReady:
            raise
        except TimeoutError:
            raise NotReady("timeout") from None
        except Exception as error:  # noqa: BLE001 - an adapter's bug must not end the opening of connections
            # Its text may name an address.
            raise NotReady("broken", type(error).__name__) from None


class _Lent:
    """A line over a connection of its own."""

    def __init__(self, connections: Connections, connection: Connection) -> None:
        self._connections = connections
        self._connection: Connection | None = connection
        self._held = True

    @property
    def handed_over(self) -> bool:
        return self._connection is not None and self._connection.handed_over

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        assert self._connection is not None
        return await self._connection.deliver(attempt)

    async def replace(self, stop: asyncio.Event) -> None:
        if self._connection is not None:
            self._connection.give_back()
            self._connection = None
        # It keeps its place among those that call: others that wait would have to wait for it.
        self._connection = await until_available(self._connections.connect, stop=stop, tell=lambda _: None)

    def release(self) -> None:
        if self._held:
            self._held = False
            if self._connection is not None:
                self._connection.give_back()
            self._connections.returned()
