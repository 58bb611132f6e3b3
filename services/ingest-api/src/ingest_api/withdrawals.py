"""Withdrawing what was refused although the broker may have it: it is not delivered behind the client's back."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

from wavecom_common.delivery.withdrawals import ERROR
from wavecom_common.events import types
from wavecom_common.kernel.clock import Clock
from wavecom_common.kernel.component import Component
from wavecom_common.kernel.errors import Unavailable, WavecomError
from wavecom_common.kernel.retrying import unless_left, until_available
from wavecom_common.telemetry import metrics
from wavecom_common.telemetry.logs import get_logger
from wavecom_proto.v1.events_pb2 import Event

from ingest_api.sinks import EventSink

# Notifications whose withdrawal is not done yet; with the database away for longer than these last, some are left out.
# Each holds 1.6 KB: its end, without content.
MAX_PENDING: Final = 10_000
# A sender or the sweeper publishes the same event when this is not confirmed.
_REPORT_TIMEOUT_S: Final = 30.0
_MAX_REPORTS: Final = 100

Result = TypeVar("Result")

_log = get_logger()


class WithdrawalStore(Protocol):
    """The ledger's side; `wavecom_common.delivery.withdrawals.Withdrawals` is the real one."""

    async def withdraw(self, notification_ids: Sequence[str]) -> frozenset[str]:
        """Those that no sender will call for; senders have the others.

        Raises:
            Unavailable: it is not known. Call again.
        """
        ...


class Withdrawals(Component):
    """Withdraws notifications, in the background where a client cannot wait for it; a component of the process.

    It drains until all of them are withdrawn. What the process has not withdrawn when it is killed may be delivered.
    """

    def __init__(
        self, store: WithdrawalStore, sink: EventSink, clock: Clock, *, max_pending: int = MAX_PENDING
    ) -> None:
        self._store = store
        self._sink = sink
        self._clock = clock
        self._max_pending = max_pending
        self._pending = 0
        self._tasks: set[asyncio.Task[object]] = set()
        self._reports: set[asyncio.Task[None]] = set()
        # There from the beginning, so that the first one is an increase.
        metrics.WITHDRAWALS.labels("dropped")
        self._draining = asyncio.Event()
        self._never = asyncio.Event()

    async def drain(self) -> None:
        """Finish the withdrawals; reports are left to others."""
        self._draining.set()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """End what is left."""
        if self._pending:
            _log.error("withdrawals_left", notifications=self._pending)
        tasks = [*self._tasks, *self._reports]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def withdraw(self, ends: Sequence[Event]) -> frozenset[str]:
        """The ids of those that no sender will call for, of requests with these `ends`; those ends are reported.

        Raises:
            Unavailable: it is not known. Call again.
        """
        withdrawn = await self._store.withdraw([end.notification_id for end in ends])
        self._report([end for end in ends if end.notification_id in withdrawn])
        return withdrawn

    def ends(self, requests: Sequence[Event]) -> list[Event]:
        """How requests end that are withdrawn: of the first attempt, as a sender that finds the withdrawal reports it.

        They hold no content: they may have to wait in memory.
        """
        now_ms = self._clock.now_ms()
        return [
            types.failed(
                types.dispatched(request, attempt=1, now_ms=now_ms), error=ERROR, reason=types.REFUSED, now_ms=now_ms
            )
            for request in requests
        ]

    async def carry_out(self, step: Callable[[], Awaitable[Result]], *, count: int, by_s: float) -> Result | None:
        """The result of a step that withdraws `count` notifications; None when it takes longer than `by_s`.

        Then it goes on, and is repeated until it is done: the step must hold nothing of what the notifications say.
        `by_s` is of the loop's clock.
        """
        if self._pending + count > self._max_pending:
            metrics.WITHDRAWALS.labels("dropped").inc(count)
            _log.error("withdrawal_dropped", notifications=count, pending=self._pending)
            return None
        task = asyncio.create_task(self._until_done(step, count))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        done, _ = await asyncio.wait([task], timeout=max(0.0, by_s - asyncio.get_running_loop().time()))
        return task.result() if done else None

    async def _until_done(self, step: Callable[[], Awaitable[Result]], count: int) -> Result | None:
        self._add_pending(count)
        try:
            return await until_available(step, stop=self._never, tell=self._log_failure)
        except Exception:  # noqa: BLE001 - a defect: the client has its 503 all the same, and this says what is left
            metrics.WITHDRAWALS.labels("dropped").inc(count)
            _log.exception("withdrawal_failed", notifications=count)
            return None
        finally:
            self._add_pending(-count)

    def _add_pending(self, count: int) -> None:
        self._pending += count
        metrics.WITHDRAWALS_PENDING.set(self._pending)

    def _log_failure(self, error: Exception) -> None:
        _log.debug("not_withdrawn_yet", error=str(error))

    def _report(self, ends: Sequence[Event]) -> None:
        """Have the event store know of them soon; best effort, for others publish the same events."""
        if not ends or len(self._reports) >= _MAX_REPORTS:
            return
        task = asyncio.create_task(self._publish(ends))
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)

    async def _publish(self, events: Sequence[Event]) -> None:
        try:
            await unless_left(self._sink.publish(events, timeout_s=_REPORT_TIMEOUT_S), self._draining)
        except WavecomError as error:
            _log.debug("refusals_not_reported", count=len(events), error=str(error))


async def within(by_s: float, step: Awaitable[Result]) -> Result:
    """The step's result by that time of the loop's clock.

    Raises:
        Unavailable: it was not done in time; whether it is done later is not known.
    """
    try:
        async with asyncio.timeout_at(by_s):
            return await step
    except TimeoutError:
        raise Unavailable("not done in time") from None
