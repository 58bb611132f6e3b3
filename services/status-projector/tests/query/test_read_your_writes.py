"""A read of one's own write waits for it, briefly and bounded."""

import asyncio

import pytest
from status_projector.query.read_your_writes import ReadYourWrites
from wavecom_common.kernel.errors import Overloaded
from wavecom_common.kernel.ids import new_notification_id

NOW_MS = 1_700_000_000_000


class _Clock:
    """Time that passes when somebody waits for it to."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)
        await asyncio.sleep(0)  # noqa: TID251 - lets others run


class _Shelf:
    """Where something appears after a time."""

    def __init__(self, clock: _Clock, *, after_ms: int) -> None:
        self.looks = 0
        self._clock = clock
        self._at_ms = clock.ms + after_ms

    async def look(self) -> str | None:
        self.looks += 1
        return "found" if self._clock.ms >= self._at_ms else None


async def test_what_is_there_is_found_at_once() -> None:
    clock = _Clock()

    assert await _read_your_writes(clock).find(new_notification_id(NOW_MS), _Shelf(clock, after_ms=0).look) == "found"
    assert clock.ms == NOW_MS


async def test_what_appears_within_the_wait_is_found_soon_after() -> None:
    clock = _Clock()

    assert await _read_your_writes(clock).find(new_notification_id(NOW_MS), _Shelf(clock, after_ms=500).look) == "found"
    assert clock.ms - NOW_MS < 800


async def test_what_does_not_appear_is_given_up_after_the_wait() -> None:
    clock, shelf = _Clock(), None
    shelf = _Shelf(clock, after_ms=10_000)

    assert await _read_your_writes(clock).find(new_notification_id(NOW_MS), shelf.look) is None
    assert 2_000 <= clock.ms - NOW_MS < 2_300
    assert shelf.looks < 20


@pytest.mark.parametrize("age_ms", [60_000, -60_000])
async def test_an_id_that_is_old_or_of_the_future_is_not_waited_for(age_ms: int) -> None:
    clock = _Clock()
    shelf = _Shelf(clock, after_ms=10)

    assert await _read_your_writes(clock).find(new_notification_id(NOW_MS - age_ms), shelf.look) is None
    assert shelf.looks == 1


async def test_only_so_many_calls_wait_and_the_rest_are_told_to_come_again() -> None:
    clock = _Clock()
    read_your_writes = _read_your_writes(clock, max_waiting=2)
    shelf = _Shelf(clock, after_ms=10_000)

    ends = await asyncio.gather(
        *[read_your_writes.find(new_notification_id(NOW_MS), shelf.look) for _ in range(3)], return_exceptions=True
    )

    assert [type(end) for end in ends] == [type(None), type(None), Overloaded]
    assert await read_your_writes.find(new_notification_id(clock.ms), _Shelf(clock, after_ms=50).look) == "found"


def _read_your_writes(clock: _Clock, *, max_waiting: int = 10) -> ReadYourWrites:
    return ReadYourWrites(window_s=10, most_s=2, max_waiting=max_waiting, clock=clock)
