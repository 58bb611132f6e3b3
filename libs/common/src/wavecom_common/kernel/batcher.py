"""Many callers, one write: collects what concurrent callers submit and hands it on in batches.

The batching adapts to the load, with no rate to configure. An item leaves at once, with what comes in the same turn of
the loop, unless a batch is under way or `linger_s` (a function of the load) has not passed since the last one's start:
then items collect and leave together. So a lone caller never waits for others that do not come, and a busy system pays
per batch what it would have paid per item.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar

from wavecom_common.kernel.errors import Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")

# So many items of other callers make the whole linger worth its delay: a linger of 20 ms sets in at some 600 items a
# second, one of 100 ms at 120. With a lower number quiet processes wait, with a higher one a process at the rates it is
# sized for writes items one by one.
FULL_LINGER_ITEMS: Final = 12
# How much the latest batch weighs in the mean: about the last eight count.
_WEIGHT: Final = 1 / 8


def linger_s(longest_s: float, others: float) -> float:
    """How long after the start of a batch the next one may wait for items.

    In proportion to `others`, how many items of other callers were there on average when a batch started: those are
    likely to come again. None are there for a lone caller, who waits for nothing.
    """
    return longest_s * min(1.0, others / FULL_LINGER_ITEMS)


class Load:
    """How many items are waiting or in flight, in one batcher or in several that share it, now and lately."""

    def __init__(self) -> None:
        self.items = 0
        self.others = 0.0

    def starting(self, own: int) -> None:
        """A batch starts; `own` is how many of the items its first caller submitted together."""
        # No more than count, or it would take long after a burst until a lone caller has none to wait for.
        self.others += (min(self.items - own, FULL_LINGER_ITEMS) - self.others) * _WEIGHT


@dataclass(slots=True, eq=False)
class _Group(Generic[Item, Result]):
    """What one caller handed in at once, and where it waits for the results."""

    items: Sequence[Item]
    results: asyncio.Future[Sequence[Result | BaseException]]


class Batcher(Generic[Item, Result]):
    """Runs `flush(items)` for batches of submitted items; every caller gets the results of its own items.

    `flush` returns one result per item, in order; a result that is an exception is raised to that item's caller. An
    exception raised by `flush` is raised to every caller of the batch.

    `linger_s` is the longest a batch may wait for items after the start of the one before: always so long, or when
    `eager` by the load (see `linger_s()`), which batchers that share a `load` have in common.
    """

    def __init__(
        self,
        flush: Callable[[list[Item]], Awaitable[Sequence[Result | BaseException]]],
        *,
        max_items: int,
        linger_s: float,
        max_in_flight: int = 1,
        max_pending: int = 100_000,
        eager: bool = True,
        load: Load | None = None,
    ) -> None:
        self._flush = flush
        self._max_items = max_items
        self._linger_s = linger_s
        self._max_in_flight = max_in_flight
        self._max_pending = max_pending
        self._eager = eager
        self._load = load or Load()
        self._groups: deque[_Group[Item, Result]] = deque()
        self._pending = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._last_start_s = float("-inf")

    async def drain(self) -> None:
        """Return when no batch is under way, not even one whose callers have given up waiting."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def pending(self) -> int:
        """Items that wait for a batch."""
        return self._pending

    async def submit(self, item: Item) -> Result:
        """Hand in one item and wait for its result.

        Raises:
            Overloaded: `max_pending` items are waiting already; nothing was done with this one.
        """
        [result] = await self.submit_all([item])
        return result

    async def submit_all(self, items: Sequence[Item]) -> list[Result]:
        """Hand in several items and wait until all are settled; the first error among them, if any, is raised.

        They cost one wait, not one each: what comes together stays together, up to `max_items`.

        Raises:
            Overloaded: more than `max_pending` items would be waiting; nothing was done with these.
        """
        if self._pending + len(items) > self._max_pending:
            raise Overloaded(f"{self._pending} items are waiting to be written", handed_over=False)
        if not items:
            return []
        if len(items) <= self._max_items:
            results = await self._enqueue(items)
        else:
            parts = [items[at : at + self._max_items] for at in range(0, len(items), self._max_items)]
            settled = await asyncio.gather(*[self._enqueue(part) for part in parts], return_exceptions=True)
            results = [one for part in settled for one in (part if not isinstance(part, BaseException) else [part])]
        return [_value(result) for result in results]

    def _enqueue(self, items: Sequence[Item]) -> asyncio.Future[Sequence[Result | BaseException]]:
        group: _Group[Item, Result] = _Group(items, asyncio.get_running_loop().create_future())
        self._groups.append(group)
        self._pending += len(items)
        self._load.items += len(items)
        if len(self._tasks) < self._max_in_flight:
            self._arm()
        return group.results

    def _arm(self) -> None:
        """See to it that a batch starts: now when one is full, else when the linger is over."""
        if self._pending >= self._max_items:
            self._start_due()
        elif self._timer is None:
            # When that is now, callers of this same turn of the loop still come along.
            loop = asyncio.get_running_loop()
            wait_s = linger_s(self._linger_s, self._load.others) if self._eager else self._linger_s
            self._timer = loop.call_at(max(loop.time(), self._last_start_s + wait_s), self._start_due)

    def _start_due(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._groups and len(self._tasks) < self._max_in_flight:
            batch = self._take()
            if not batch:
                break
            self._last_start_s = loop.time()
            self._load.starting(len(batch[0].items))
            task = loop.create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(partial(self._finished, sum(len(group.items) for group in batch)))

    def _take(self) -> list[_Group[Item, Result]]:
        batch: list[_Group[Item, Result]] = []
        count = 0
        while self._groups and count + len(self._groups[0].items) <= self._max_items:
            group = self._groups.popleft()
            self._pending -= len(group.items)
            if group.results.done():
                # A caller that gave up waiting has reported that nothing is promised: leave its items out.
                self._load.items -= len(group.items)
            else:
                batch.append(group)
                count += len(group.items)
        return batch

    def _finished(self, count: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._load.items -= count
        if self._groups:
            self._arm()

    async def _run(self, batch: list[_Group[Item, Result]]) -> None:
        try:
            results = await self._flush([item for group in batch for item in group.items])
        except BaseException as error:
            for group in batch:
                if not group.results.done():
                    group.results.set_exception(error) if isinstance(error, Exception) else group.results.cancel()
            if not isinstance(error, Exception):
                raise
            return
        at = 0
        for group in batch:
            until = at + len(group.items)
            if not group.results.done():
                group.results.set_result(results[at:until])
            at = until


def _value(result: Result | BaseException) -> Result:
    if isinstance(result, BaseException):
        raise result
    return result
