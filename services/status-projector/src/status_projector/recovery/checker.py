"""Is the read model the fold of the event store? Both are walked side by side, whole, in memory that stays the same.

The system may run meanwhile. An event is in the store a moment before it is in the model, so what differs is looked at
again for a while, and only what stays different counts.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.errors import Unstorable
from wavecom_common.kernel.ids import id_time_ms
from wavecom_proto.v1.events_pb2 import Event

from status_projector.model import facts_document, projection
from status_projector.model.facts import Facts
from status_projector.model.read_model import ReadModel
from status_projector.store.event_store import EventStore

# As long as a projector takes at most between its two writes, unless it died there.
SETTLE_S: Final = 10.0
# What is looked at again; more than this is no coincidence, and the rest is counted as it is.
_MOST_SUSPECTS: Final = 10_000
_LOOK_AT_ONCE: Final = 500
_PAUSE_S: Final = 0.25
_TOLD_EVERY: Final = 1000

Told = Callable[[int, int], None]
One = TypeVar("One")
Other = TypeVar("Other")


@dataclass(frozen=True, slots=True)
class Difference:
    """A notification on which model and store disagree."""

    notification_id: str
    # Where: names of fields, or one sentence in their place when one side has nothing at all.
    fields: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a check found."""

    events: int
    notifications: int
    differing: int
    # The first of them.
    differences: Sequence[Difference]
    # Those without an end yet. That is no difference: model and store may well agree on it.
    open: int
    oldest_open_id: str | None

    @property
    def oldest_open_ms(self) -> int | None:
        """When the oldest notification without an end was accepted."""
        return None if self.oldest_open_id is None else id_time_ms(self.oldest_open_id)


class Checker:
    """One check of a read model against the event store.

    `told(events, notifications)` is called now and then with what was looked at so far. At most `most_differences` are
    kept; all are counted.

    Raises `Unavailable` when the database cannot answer: a check can't be taken up again, only repeated.
    """

    def __init__(
        self,
        store: EventStore,
        model: ReadModel,
        *,
        told: Told = lambda events, notifications: None,
        settle_s: float = SETTLE_S,
        most_differences: int = 100,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._store = store
        self._model = model
        self._told = told
        self._settle_s = settle_s
        self._most_differences = most_differences
        self._clock = clock
        self._events = 0
        self._notifications = 0
        self._open = 0
        self._oldest_open_id: str | None = None
        self._suspects: list[str] = []
        self._differing = 0
        self._differences: list[Difference] = []

    async def run(self) -> Report:
        """Check everything."""
        async for notification_id, events, document in _side_by_side(self._store.histories(), self._model.documents()):
            compared = _compare(notification_id, events or [], document)
            if compared.difference is None or len(self._suspects) >= _MOST_SUSPECTS:
                self._count(compared)
            else:
                self._suspects.append(notification_id)
        await self._settle()
        self._told(self._events, self._notifications)
        return Report(
            events=self._events,
            notifications=self._notifications,
            differing=self._differing,
            differences=self._differences,
            open=self._open,
            oldest_open_id=self._oldest_open_id,
        )

    def _count(self, compared: "_Compared") -> None:
        self._notifications += 1
        self._events += compared.events
        if compared.state is not None and not compared.state.head.final:
            self._open += 1
            self._oldest_open_id = min(self._oldest_open_id or compared.notification_id, compared.notification_id)
        if compared.difference is not None:
            self._differing += 1
            if len(self._differences) < self._most_differences:
                self._differences.append(compared.difference)
        if self._notifications % _TOLD_EVERY == 0:
            self._told(self._events, self._notifications)

    async def _settle(self) -> None:
        """Look at the suspects again until they agree or the time is up; those that never do, differ."""
        deadline_ms = self._clock.now_ms() + self._settle_s * 1000
        while self._suspects:
            is_last = self._clock.now_ms() >= deadline_ms
            remaining = []
            async for compared in self._look_again(self._suspects):
                if compared.difference is None or is_last:
                    self._count(compared)
                else:
                    remaining.append(compared.notification_id)
            self._suspects = remaining
            if remaining:
                await self._clock.sleep(_PAUSE_S)

    async def _look_again(self, notification_ids: Sequence[str]) -> AsyncIterator["_Compared"]:
        for start in range(0, len(notification_ids), _LOOK_AT_ONCE):
            ids = notification_ids[start : start + _LOOK_AT_ONCE]
            # The model first: what it holds is in the store by then.
            documents = await self._model.documents_of(ids)
            histories = await self._store.histories_of(ids)
            for notification_id in ids:
                yield _compare(notification_id, histories.get(notification_id, []), documents.get(notification_id))


@dataclass(frozen=True, slots=True)
class _Compared:
    notification_id: str
    events: int
    state: Facts | None
    difference: Difference | None


def _compare(notification_id: str, events: Sequence[Event], document: Mapping[str, Any] | None) -> _Compared:
    state: Facts | None = None
    try:
        state = projection.fold(events).get(notification_id)
        fields = _differences(state, document)
    except Unstorable as error:
        fields = [f"the events cannot be folded: {error}"]
    difference = Difference(notification_id, fields) if fields else None
    return _Compared(notification_id, len(events), state, difference)


def _differences(state: Facts | None, document: Mapping[str, Any] | None) -> list[str]:
    if state is None:
        return [] if document is None else ["no event tells of it"]
    if document is None:
        return ["not in the read model"]
    return facts_document.differences(facts_document.document(state), document)


async def _side_by_side(
    ones: AsyncIterator[tuple[str, One]], others: AsyncIterator[tuple[str, Other]]
) -> AsyncIterator[tuple[str, One | None, Other | None]]:
    """Two walks in the order of the same keys, as one; None where a side lacks the key."""
    one, other = await anext(ones, None), await anext(others, None)
    while one is not None or other is not None:
        key = min(item[0] for item in (one, other) if item is not None)
        mine = one[1] if one is not None and one[0] == key else None
        theirs = other[1] if other is not None and other[0] == key else None
        yield key, mine, theirs
        if mine is not None:
            one = await anext(ones, None)
        if theirs is not None:
            other = await anext(others, None)
