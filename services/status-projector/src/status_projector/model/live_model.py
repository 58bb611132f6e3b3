"""The read model wherever it is now: writing to it and reading from it by the pointer, also while that changes."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, TypeVar

from wavecom_common.storage import names
from wavecom_common.storage.client import Database

from status_projector.model.facts import Facts
from status_projector.model.pointer import Pointer, Pointers
from status_projector.model.read_model import Filters, Overdue, Place, ReadModel, Standing

# Readers follow a change of the pointer within this time.
CACHE_S: Final = 1.0
# An answer that came longer after the pointer was read is asked for again: the collection may have been dropped.
VALID_S: Final = 20.0
# So after this time nobody answers from a collection that the pointer does not name.
UNREAD_AFTER_S: Final = VALID_S + 10.0

Answer = TypeVar("Answer")


class LiveModel:
    """The read model as projectors and readers use it. Calls raise what `ReadModel`'s do."""

    def __init__(self, database: Database) -> None:
        self._pointers = Pointers(database)
        self._models = {name: ReadModel(database, name) for name in names.READ_MODELS}
        self._refreshing = asyncio.Lock()
        self._pointer = Pointer()
        self._read_at_s = float("-inf")

    async def merge(self, facts: Mapping[str, Facts]) -> None:
        """Join facts into every collection that is kept up to date; see `ReadModel.merge`.

        The events that tell the facts must be stored before: that makes a rebuild complete, see `pointer`.
        """
        # Read now, never from a cache.
        for name in (await self._pointers.read()).fed:
            await self._models[name].merge(facts)

    async def get(self, tenant: str, notification_id: str) -> Facts | None:
        """See `ReadModel.get`."""
        return await self._ask(lambda model: model.get(tenant, notification_id))

    async def list(
        self, filters: Filters, *, limit: int, skip: int = 0, after: Place | None = None
    ) -> list[tuple[str, Facts]]:
        """See `ReadModel.list`."""
        return await self._ask(lambda model: model.list(filters, limit=limit, skip=skip, after=after))

    async def count(self, filters: Filters) -> int:
        """See `ReadModel.count`."""
        return await self._ask(lambda model: model.count(filters))

    async def overdue(
        self,
        before_ms: int,
        *,
        requests: bool,
        deliveries: Mapping[tuple[str, str], int],
        after: Overdue | None = None,
        limit: int,
    ) -> Sequence[Overdue]:
        """See `ReadModel.overdue`."""
        return await self._ask(
            lambda model: model.overdue(before_ms, requests=requests, deliveries=deliveries, after=after, limit=limit)
        )

    async def longest_overdue(self, before_ms: int, *, requests_only: bool = False) -> Overdue | None:
        """See `ReadModel.longest_overdue`."""
        return await self._ask(lambda model: model.longest_overdue(before_ms, requests_only=requests_only))

    async def standings(self, *, after: str, before: str, limit: int) -> Sequence[Standing]:
        """See `ReadModel.standings`."""
        return await self._ask(lambda model: model.standings(after=after, before=before, limit=limit))

    async def standings_of(self, notification_ids: Collection[str]) -> Sequence[Standing]:
        """See `ReadModel.standings_of`."""
        return await self._ask(lambda model: model.standings_of(notification_ids))

    async def remove(self, notification_ids: Collection[str]) -> None:
        """Remove notifications from every collection that is kept up to date; see `ReadModel.remove`."""
        for name in reversed((await self._pointers.read()).fed):
            await self._models[name].remove(notification_ids)

    async def _ask(self, ask: Callable[[ReadModel], Awaitable[Answer]]) -> Answer:
        loop = asyncio.get_running_loop()
        while True:
            await self._refresh()
            read_at_s = self._read_at_s
            answer = await ask(self._models[self._pointer.live])
            if loop.time() - read_at_s <= VALID_S:
                return answer

    async def _refresh(self) -> None:
        loop = asyncio.get_running_loop()
        async with self._refreshing:
            if loop.time() - self._read_at_s > CACHE_S:
                # From before the question: the answer may be as old as that.
                asked_at_s = loop.time()
                self._pointer = await self._pointers.read()
                self._read_at_s = asked_at_s
