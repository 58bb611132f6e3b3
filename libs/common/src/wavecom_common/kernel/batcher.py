"""Many callers, one write: collects what concurrent callers submit and hands it on in batches.

The batching is adaptive without being told a rate. The first item after a quiet moment goes out at once and alone;
while a batch is under way, or within `linger_s` of the last one's start, items collect and leave together. So an idle
system pays no delay, and a busy one pays per batch what it would have paid per item.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from wavecom_common.kernel.errors import Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Runs `flush(items)` for batches of submitted items; every caller gets the result at its own item's place.

    `flush` returns one result per item, in order; a result that is an exception is raised to that item's caller. An
    exception raised by `flush` is raised to every caller of the batch.
    """

    def __init__(
        self,
        flush: Callable[[list[Item]], Awaitable[Sequence[Result | BaseException]]],
        *,
        max_items: int,
        linger_s: float,
        max_in_flight: int = 1,
        max_pending: int = 100_000,
    ) -> None:
        self._flush = flush
        self._max_items = max_items
        self._linger_s = linger_s
        self._max_in_flight = max_in_flight
        self._max_pending = max_pending
        self._pending: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._last_start_s = float("-inf")

    @property
    def pending(self) -> int:
        """Items that wait for a batch."""
        return len(self._pending)

    async def submit(self, item: Item) -> Result:
        """Hand in one item and wait for its result.

        Raises:
            Overloaded: `max_pending` items are waiting already; nothing was done with this one.
        """
        return await self._enqueue(item)

    async def submit_all(self, items: Sequence[Item]) -> list[Result]:
        """Hand in several items and wait until all are settled; the first error among them, if any, is raised."""
        if len(items) == 1:
            return [await self._enqueue(items[0])]
        results = await asyncio.gather(*[self._enqueue(item) for item in items], return_exceptions=True)
        settled: list[Result] = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            settled.append(result)
        return settled

    def _enqueue(self, item: Item) -> asyncio.Future[Result]:
        if len(self._pending) >= self._max_pending:
            raise Overloaded(f"{self._max_pending} items are waiting to be written")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._pending.append((item, future))
        if len(self._tasks) < self._max_in_flight:
            self._arm()
        return future

    def _arm(self) -> None:
        """See to it that a batch starts: now when one is full, else when the linger is over."""
        if len(self._pending) >= self._max_items:
            self._start_due()
        elif self._timer is None:
            # After a quiet moment that is at once, but callers of this same turn of the loop still come along.
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._last_start_s + self._linger_s), self._start_due)

    def _start_due(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._pending and len(self._tasks) < self._max_in_flight:
            batch = self._take()
            if not batch:
                break
            self._last_start_s = loop.time()
            task = loop.create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._pending and len(batch) < self._max_items:
            item, future = self._pending.popleft()
            # A caller that gave up waiting has told its own caller that nothing is promised: leave its item out.
            if not future.done():
                batch.append((item, future))
        return batch

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._pending:
            self._arm()

    async def _run(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._flush([item for item, _ in batch])
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error) if isinstance(error, Exception) else future.cancel()
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
