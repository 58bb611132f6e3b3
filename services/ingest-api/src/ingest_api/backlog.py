"""Back-pressure: how much is waiting, and who is asked to come back later.

The rule: each channel has a backlog of its own, which is what stands before a new notification of that channel. From
the emergency threshold on, its requests of priority low are refused, from 1.5 times of it medium, from twice of it
high. A priority is taken again when the backlog is a fifth below where its refusal began. What was accepted goes on
whatever the level. Between two looks at the queues a second's requests may come on top.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from wavecom_common.events.channels import CHANNELS, PRIORITIES
from wavecom_common.events.routing import DISPATCHER_QUEUE, PROJECTOR_QUEUE, sender_queue
from wavecom_common.telemetry import metrics
from wavecom_common.telemetry.logs import get_logger

from ingest_api.errors import RETRY_LATER_S, Refusal

# Every notification is in one of these, waits for a retry, or is at its end.
QUEUES: Final = (
    DISPATCHER_QUEUE,
    *(sender_queue(channel, priority) for channel in CHANNELS for priority in PRIORITIES),
    PROJECTOR_QUEUE,
)

# Of the emergency threshold.
REFUSED_FROM: Final[Mapping[str, float]] = {"low": 1.0, "medium": 1.5, "high": 2.0}
_RELEASED_BELOW: Final = 0.8
# Requested, dispatched, started, sent.
_EVENTS_PER_NOTIFICATION: Final = 4
# Ten minutes of looks, and no more than that to remember.
_LOOKS: Final = 600

_log = get_logger()


class Level(IntEnum):
    """How much is waiting for a channel."""

    NORMAL = 0
    WARNING = 1
    CRITICAL = 2
    EMERGENCY = 3


@dataclass(frozen=True, slots=True)
class Thresholds:
    """In notifications, ascending."""

    warning: int
    critical: int
    emergency: int


@dataclass(frozen=True, slots=True)
class State:
    """A channel's level, and the priorities that are refused at it."""

    level: Level = Level.NORMAL
    refused: frozenset[str] = frozenset()


def next_state(waiting: float, thresholds: Thresholds, before: State) -> State:
    """The state with `waiting` notifications, after another state. Pure."""
    limits = {
        Level.WARNING: thresholds.warning,
        Level.CRITICAL: thresholds.critical,
        Level.EMERGENCY: thresholds.emergency,
    }
    level = max(
        (level for level, limit in limits.items() if _beyond(waiting, limit, already=level <= before.level)),
        default=Level.NORMAL,
    )
    refused = frozenset(
        priority
        for priority, factor in REFUSED_FROM.items()
        if _beyond(waiting, factor * thresholds.emergency, already=priority in before.refused)
    )
    return State(level, refused)


def _beyond(waiting: float, limit: float, *, already: bool) -> bool:
    return waiting >= (limit * _RELEASED_BELOW if already else limit)


def messages_waiting(counts: Mapping[str, int], channel: str) -> float:
    """How many messages stand before a new request of a channel, by the longer of two ways.

    The dispatcher's queue, which all channels share, and the channel's own hold each notification once. The projector's
    holds every event of all channels, so a quarter of it stands for the notifications that cannot be seen yet. Pure.
    """
    work = counts.get(DISPATCHER_QUEUE, 0) + sum(counts.get(sender_queue(channel, each), 0) for each in PRIORITIES)
    return max(float(work), counts.get(PROJECTOR_QUEUE, 0) / _EVENTS_PER_NOTIFICATION)


class BatchSizes:
    """How many events a message holds, by what this process published.

    A queue is first in, first out: as many messages as wait, so many were published last, so the mean over just those
    is taken. Other copies of the process see the same mix of clients. A restart forgets: 1 until the first publish.
    """

    def __init__(self) -> None:
        self._totals: deque[tuple[int, int]] = deque([(0, 0)], maxlen=_LOOKS)

    def note(self, messages: int, events: int) -> None:
        """Remember how much was published until now."""
        if messages > self._totals[-1][0]:
            self._totals.append((messages, events))

    def mean(self, last_messages: float) -> float:
        """Events per message over the last messages, by whole looks."""
        messages, events = self._totals[-1]
        for messages_before, events_before in reversed(self._totals):
            span = messages - messages_before
            if span and (span >= last_messages or messages_before == self._totals[0][0]):
                return (events - events_before) / span
        return 1.0


class Backlog:
    """What is waiting, as of the last look, and the refusals that follow from it."""

    def __init__(self, thresholds: Thresholds, published: Callable[[], tuple[int, int]]) -> None:
        """`published` tells the messages and events published since the start."""
        self._thresholds = thresholds
        self._published = published
        self._sizes = BatchSizes()
        self._states: dict[str, State] = dict.fromkeys(CHANNELS, State())

    def look(self, counts: Mapping[str, int]) -> None:
        """Take in how many messages wait in each of `QUEUES`."""
        self._sizes.note(*self._published())
        for channel, before in self._states.items():
            messages = messages_waiting(counts, channel)
            waiting = messages * self._sizes.mean(messages)
            state = next_state(waiting, self._thresholds, before)
            metrics.BACKLOG.labels(channel).set(round(waiting))
            metrics.BACKLOG_LEVEL.labels(channel).set(state.level)
            if state != before:
                log = _log.warning if state.level > Level.NORMAL else _log.info
                log(
                    "backlog",
                    channel=channel,
                    reached=state.level.name.lower(),
                    waiting=round(waiting),
                    refused=sorted(state.refused),
                )
            self._states[channel] = state

    def check(self, wanted: Collection[tuple[str, str]]) -> None:
        """Return when requests of all these channels and priorities are taken.

        Raises:
            Refusal: 503.
        """
        for channel, priority in sorted(wanted):
            if priority in self._states[channel].refused:
                raise Refusal(
                    503,
                    f"Too many {channel} notifications are waiting to take more of {priority} priority; try again "
                    "later",
                    reason="backlog",
                    retry_after_s=RETRY_LATER_S,
                )
