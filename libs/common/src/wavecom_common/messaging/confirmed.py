"""A channel to the broker on which every message is confirmed, opened again whenever it is lost or confirms nothing.

Source: https://www.rabbitmq.com/docs/confirms
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from aio_pika import Message
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import DeliveryError, PublishError

from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Overloaded, Retryable, Unavailable, Unroutable
from wavecom_common.kernel.tasks import spawn_vital
from wavecom_common.messaging.connection import (
    broker_errors,
    first_of,
    keep_session,
    lost,
    node_of,
    setting_up,
    stopped,
)
from wavecom_common.messaging.depths import CHECK_INTERVAL_S, DOUBT_AFTER_S, QueueProbe
from wavecom_common.messaging.nodes import nodes_of
from wavecom_common.messaging.refusals import Refusals
from wavecom_common.messaging.stalling import STALL_LIMIT_S, StallLimit
from wavecom_common.messaging.topology import message_counts, queues_reached
from wavecom_common.telemetry.logs import get_logger

# While something is missing its return is looked for more often.
_MISSING_INTERVAL_S: Final = 1.0
_WATCH_INTERVAL_S: Final = 0.5
_DOUBT_PAUSE_S: Final = 0.5

_log = get_logger()


@dataclass(frozen=True, slots=True)
class _Sent:
    """A message that waits for its confirm."""

    since_s: float
    exchange: str
    key: str


class ConfirmedChannel:
    """Sends messages one by one, and returns from each when the broker confirmed it.

    It connects in the background. `required_queues` must exist for it to be ready: their existence is looked at when a
    link is opened and every few seconds. A link on which a message stays unconfirmed for longer than `stall_limit_s`
    is left for another one; see `StallLimit`. What waits on a link that ends is raised as `Unavailable`.
    """

    def __init__(
        self, url: str, *, name: str, required_queues: Sequence[str], stall_limit_s: float = STALL_LIMIT_S
    ) -> None:
        self._url = url
        self._name = name
        self._required_queues = required_queues
        self._limit = StallLimit(stall_limit_s)
        self._channel: AbstractChannel | None = None
        self._probe: QueueProbe | None = None
        # Set while there is a link.
        self.usable = asyncio.Event()
        # In the order in which they were sent. Rescheduling its deadline ends a wait.
        self._waiting: dict[asyncio.Timeout, _Sent] = {}
        # A link was left unconfirmed, and nothing has been confirmed since.
        self._in_doubt = False
        self._missing: list[str] = []
        # The keys whose last message the broker returned.
        self._unbound: set[tuple[str, str]] = set()
        # The keys whose last message was refused by a full queue.
        self._full: set[tuple[str, str]] = set()
        self._refusals = Refusals()
        # Set when a nack puts the channel in doubt, and the queues of the message; see `Refusals`.
        self._doubted = asyncio.Event()
        self._doubtful: Collection[str] = ()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to connect; `ready()` reports when it is done."""
        self._task = spawn_vital(keep_session(self._url, self._name, self._session, self._stop), self._name)

    async def close(self) -> None:
        """Close the link."""
        if self._task is not None:
            self._stop.set()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def ready(self) -> str | None:
        """None, or why nothing can be published now."""
        if self._missing:
            return f"queue {self._missing[0]} is missing: run `wavecom topology apply`"
        if self._unbound:
            exchange, key = min(self._unbound)
            return f"no queue is bound to {exchange} for {key}: run `wavecom topology apply`"
        if not self.usable.is_set():
            return "not connected to the broker"
        if (silent_s := self._unanswered_s()) > DOUBT_AFTER_S:
            return f"the broker has not confirmed or answered for {silent_s:.0f} s"
        return "the broker confirmed nothing on the last link" if self._in_doubt else None

    def refusal(self, exchange: str, *keys: str) -> Retryable | None:
        """Why a message under one of these keys would not be sent now, if that is known before; nothing is sent."""
        if self._missing:
            return Unroutable(f"queue {self._missing[0]} is missing", handed_over=False)
        for key in keys:
            if (exchange, key) in self._unbound:
                return Unroutable(f"no queue is bound to {exchange} for {key}", handed_over=False)
        return None if self._channel is not None else Unavailable("not connected to the broker", handed_over=False)

    async def send(self, exchange: str, key: str, message: Message) -> None:
        """Send one message and wait for its confirm, as long as the link lives.

        Raises:
            Unavailable: there is no link, or it ended before the confirm.
            Overloaded: a queue that is full refused it.
            Unroutable: no queue is bound.
        """
        channel = self._channel
        if channel is None:
            raise Unavailable("not connected to the broker", handed_over=False)
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        with broker_errors():
            try:
                async with asyncio.timeout(None) as wait:
                    self._waiting[wait] = _Sent(since_s, exchange, key)
                    try:
                        target = await channel.get_exchange(exchange, ensure=False)
                        await target.publish(message, key, mandatory=True)
                    finally:
                        del self._waiting[wait]
            except PublishError as error:
                self._unbound.add((exchange, key))
                raise Unroutable(f"no queue is bound to {exchange} for {key}") from error
            except DeliveryError as error:
                raise self._refused(exchange, key) from error
            except TimeoutError as error:
                raise Unavailable(f"the link ended before a message to {exchange} for {key} was confirmed") from error
        self._confirmed(exchange, key, loop.time() - since_s)

    def _confirmed(self, exchange: str, key: str, after_s: float) -> None:
        self._unbound.discard((exchange, key))
        self._full.discard((exchange, key))
        self._refusals.confirmed(queues_reached(exchange, key))
        self._limit.confirmed(after_s)
        self._in_doubt = False

    def _refused(self, exchange: str, key: str) -> Unavailable:
        queues = queues_reached(exchange, key)
        if not self._doubted.is_set() and self._refusals.full(queues, asyncio.get_running_loop().time()):
            if (exchange, key) not in self._full:
                _log.warning("queue_full", connection=self._name, exchange=exchange, routing_key=key)
            self._full.add((exchange, key))
            return Overloaded(f"the broker refused a message to {exchange} for {key}: a queue is full")
        if not self._doubted.is_set():
            self._doubtful = queues
            self._doubted.set()
        return Unavailable(f"the broker refused a message to {exchange} for {key}, the first on its channel")

    async def _session(self, connection: AbstractConnection) -> str | None:
        async with setting_up():
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            probe = QueueProbe(connection)
            await self._look(probe)
        self._refusals.opened()
        self._probe = probe
        self._use(channel)
        _log.info("publisher_connected", connection=self._name, node=node_of(connection))
        try:
            # The client library sometimes loses a cancellation that comes while it connects: the stop is watched here.
            return await first_of(
                lost(connection, channel),
                stopped(self._stop),
                self._watch(),
                self._keep_looking(probe),
                self._left_in_doubt(connection, channel),
            )
        finally:
            self.usable.clear()
            self._channel = self._probe = None
            self._end_waits()

    def _end_waits(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for wait in self._waiting:
            wait.reschedule(now_s)

    async def _watch(self) -> NoReturn:
        """Look at the oldest message that waits, over and over.

        Twice before a link is left: a process that stood still itself has to read first what came meanwhile.

        Raises:
            Unavailable: it has waited for longer than the limit.
        """
        loop = asyncio.get_running_loop()
        opened_s, before = loop.time(), False
        while True:
            await SYSTEM_CLOCK.sleep(_WATCH_INTERVAL_S)
            now_s = loop.time()
            oldest = next(iter(self._waiting.values()), None)
            age_s = now_s - oldest.since_s if oldest is not None else 0.0
            if oldest is not None and age_s > self._limit.limit_s:
                if before:
                    self._in_doubt = True
                    self._limit.left(nodes=len(nodes_of(self._url)))
                    raise Unavailable(
                        f"a message to {oldest.exchange} for {oldest.key} is not confirmed after {age_s:.0f} s"
                    )
                before = True
            else:
                before = False
            if age_s < DOUBT_AFTER_S < now_s - opened_s:
                self._in_doubt = False

    def _use(self, channel: AbstractChannel) -> None:
        self._doubted.clear()
        self._channel = channel
        self.usable.set()

    async def _left_in_doubt(self, connection: AbstractConnection, channel: AbstractChannel) -> str:
        while True:
            await self._doubted.wait()
            self.usable.clear()
            self._channel = None
            if not await _led(connection, self._doubtful):
                # What is on its way may still be confirmed, and the broker needs a moment to record another leader.
                await SYSTEM_CLOCK.sleep(_DOUBT_PAUSE_S)
                return f"the broker refused the first message of a channel to {', '.join(self._doubtful)}"
            self._refusals.believe(asyncio.get_running_loop().time())
            self._use(channel)

    async def _keep_looking(self, probe: QueueProbe) -> NoReturn:
        while True:
            await SYSTEM_CLOCK.sleep(_MISSING_INTERVAL_S if self._missing else CHECK_INTERVAL_S)
            await self._look(probe)

    async def _look(self, probe: QueueProbe) -> None:
        counts = await probe.counts(self._required_queues)
        missing = [name for name, count in counts.items() if count is None]
        if missing and missing != self._missing:
            _log.error("queues_missing", queues=missing)
        self._missing = missing
        # A binding cannot be looked up, and a process that is not ready gets nothing that would show it is there again.
        self._unbound.clear()

    def _unanswered_s(self) -> float:
        now_s = asyncio.get_running_loop().time()
        oldest = next(iter(self._waiting.values()), None)
        unconfirmed_s = now_s - oldest.since_s if oldest is not None else 0.0
        return max(unconfirmed_s, self._probe.unanswered_s() if self._probe is not None else 0.0)


async def _led(connection: AbstractConnection, queues: Collection[str]) -> bool:
    """Whether all of these queues show messages: the broker answers 0 for one whose leader it cannot reach."""
    try:
        with broker_errors():
            async with asyncio.timeout(_DOUBT_PAUSE_S):
                return all((await message_counts(connection, list(queues))).values())
    except Unavailable:
        return False
