import asyncio

from wavecom_common.messaging.acks import Acks
from wavecom_common.testing.waiting import eventually


class Frames:
    def __init__(self) -> None:
        self.written: list[tuple[int, bool]] = []
        self.given_back: list[int] = []

    async def write(self, tag: int, multiple: bool) -> None:
        self.written.append((tag, multiple))

    async def give_back(self, tag: int) -> None:
        self.given_back.append(tag)


def acks_with(frames: Frames, delivered: int) -> Acks:
    acks = Acks(frames.write, frames.give_back)
    for tag in range(1, delivered + 1):
        acks.delivered(tag)
    return acks


async def test_a_run_of_finished_messages_is_one_frame() -> None:
    frames = Frames()
    acks = acks_with(frames, 5)
    for tag in (2, 1, 3):
        acks.finish(tag)
    await acks.flush()
    assert frames.written == [(3, True)]


async def test_what_is_finished_behind_a_slow_message_is_acked_alone() -> None:
    frames = Frames()
    acks = acks_with(frames, 4)
    for tag in (1, 3, 4):
        acks.finish(tag)
    await acks.flush()
    assert frames.written == [(1, True), (3, False), (4, False)]


async def test_nothing_unfinished_is_ever_covered_by_a_later_run() -> None:
    frames = Frames()
    acks = acks_with(frames, 4)
    acks.finish(3)
    await acks.flush()
    acks.finish(1)
    await acks.flush()
    acks.finish(4)
    acks.finish(2)
    await acks.flush()
    assert frames.written == [(3, False), (1, True), (4, True)]


async def test_a_run_never_covers_a_tag_that_an_earlier_flush_has_still_to_write() -> None:
    written: list[tuple[int, bool]] = []
    gate = asyncio.Event()

    async def slow_write(tag: int, multiple: bool) -> None:
        if tag == 1:
            await gate.wait()
        written.append((tag, multiple))

    acks = Acks(slow_write, Frames().give_back)
    for tag in range(1, 6):
        acks.delivered(tag)
    for tag in (1, 3):
        acks.finish(tag)
    first = asyncio.create_task(acks.flush())
    await asyncio.wait([first], timeout=0.01)
    for tag in (2, 4, 5):
        acks.finish(tag)
    second = asyncio.create_task(acks.flush())
    await asyncio.wait([second], timeout=0.01)
    gate.set()
    await asyncio.gather(first, second)
    assert written == [(1, True), (3, False), (5, True)]


async def test_a_run_never_covers_a_tag_that_is_still_on_its_way_back() -> None:
    frames = Frames()
    gate = asyncio.Event()

    async def slow_give_back(tag: int) -> None:
        await gate.wait()
        await frames.give_back(tag)

    acks = Acks(frames.write, slow_give_back)
    for tag in range(1, 4):
        acks.delivered(tag)
    acks.leave(2)
    returning = asyncio.create_task(acks.give_back_left())
    await asyncio.wait([returning], timeout=0.01)
    for tag in (1, 3):
        acks.finish(tag)
    flushing = asyncio.create_task(acks.flush())
    await asyncio.wait([flushing], timeout=0.01)
    assert frames.written == []
    gate.set()
    await asyncio.gather(returning, flushing)
    assert (frames.given_back, frames.written) == ([2], [(3, True)])


async def test_what_is_left_is_outstanding_until_it_is_given_back() -> None:
    frames = Frames()
    acks = acks_with(frames, 3)
    acks.leave(1)
    acks.finish(2)
    await acks.flush()
    assert (frames.given_back, frames.written) == ([], [(2, False)])


async def test_what_is_finished_is_acknowledged_by_itself_within_a_few_milliseconds() -> None:
    frames = Frames()
    acks = acks_with(frames, 4)
    for tag in (1, 2):
        acks.finish(tag)
    assert frames.written == []
    await eventually(lambda: frames.written == [(2, True)])
    # And so is what is finished after that.
    acks.finish(4)
    acks.finish(3)
    await eventually(lambda: frames.written == [(2, True), (4, True)])


async def test_what_is_given_back_is_outstanding_no_more() -> None:
    frames = Frames()
    acks = acks_with(frames, 3)
    for tag in (1, 2):
        acks.leave(tag)
    await acks.give_back_left()
    await acks.give_back_left()
    acks.finish(3)
    await acks.flush()
    assert (sorted(frames.given_back), frames.written) == ([1, 2], [(3, True)])
