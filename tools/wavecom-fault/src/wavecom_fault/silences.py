"""How long nothing was accepted, and nothing of a queue sent: from the clients' and the provider's records."""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final

from wavecom_fault.client import Accepted

ACCEPTED: Final = "201"


def longest_s(moments_ms: Sequence[int], from_ms: int, to_ms: int) -> float:
    """The longest time within a window, in seconds, without any of these moments, which are in order."""
    within = moments_ms[bisect_left(moments_ms, from_ms) : bisect_right(moments_ms, to_ms)]
    edges = [from_ms, *within, to_ms]
    return max(after - before for before, after in pairwise(edges)) / 1000


class Silences:
    """Reads both records as they grow."""

    def __init__(self, accepted: Accepted, calls_file: Path) -> None:
        self._accepted = accepted
        self._calls_file = calls_file
        self._offset = 0
        # By notification, since a provider may be called before the client has its answer.
        self._calls: list[tuple[str, int]] = []

    def longest_s(
        self, from_ms: int, to_ms: int, excused_ms: Mapping[str, Sequence[int]] = MappingProxyType({})
    ) -> Mapping[str, float]:
        """By name, `201` or a queue's. A moment of `excused_ms` ends a silence of that name as one of its own does."""
        return {
            name: longest_s(sorted([*moments, *excused_ms.get(name, ())]), from_ms, to_ms)
            for name, moments in self._moments().items()
        }

    def current_s(self, from_ms: int, now_ms: int) -> Mapping[str, float]:
        """How long each has been silent until now, counted from a moment on."""
        return {name: (now_ms - max([from_ms, *moments[-1:]])) / 1000 for name, moments in self._moments().items()}

    def _moments(self) -> Mapping[str, Sequence[int]]:
        self._read()
        queue_of = dict(zip(self._accepted.ids, self._accepted.queues, strict=True))
        moments: dict[str, list[int]] = {ACCEPTED: list(self._accepted.at_ms)}
        moments |= {queue: [] for queue in sorted(set(self._accepted.queues))}
        for notification, at_ms in self._calls:
            if notification in queue_of:
                moments[queue_of[notification]].append(at_ms)
        return {name: sorted(found) for name, found in moments.items()}

    def _read(self) -> None:
        if not self._calls_file.exists():
            return
        with self._calls_file.open("rb") as lines:
            lines.seek(self._offset)
            read = lines.read()
        whole = read[: read.rfind(b"\n") + 1]
        self._offset += len(whole)
        calls = map(json.loads, whole.splitlines())
        self._calls += [(call["notificationId"], call["atMs"]) for call in calls]
