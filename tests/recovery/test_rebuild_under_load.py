"""The read model is rebuilt while events come in, with deaths on the way; whoever reads meanwhile notices nothing."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from status_projector.model import projection
from status_projector.model.facts import Head
from status_projector.model.live_model import LiveModel
from status_projector.model.pointer import Phase, Pointers
from status_projector.model.read_model import Filters, ReadModel
from status_projector.recovery.checker import Checker
from status_projector.store.event_store import EventStore
from wavecom_common.testing.broker import publishing
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

from tests.recovery.stories import story

PROJECTOR = ("-m", "status_projector", "projector")
REBUILD = ("-m", "wavecom_cli", "rebuild")
STORED_BEFORE = 6000


async def fill(stage: Any) -> None:
    """A store and a model with a past."""
    store, model = EventStore(stage.database), ReadModel(stage.database)
    for start in range(0, STORED_BEFORE, 500):
        events = [event for number in range(start, start + 500) for event in story(number)]
        await store.append(events)
        await model.merge(projection.fold(events))


class Readers:
    """Ask all the time for what is known to be there, and note every answer that goes back in time."""

    def __init__(self, stage: Any) -> None:
        self._model = LiveModel(stage.database)
        self._heads: dict[str, Head] = {}
        self._most = 0
        self.answers = 0
        self.wrong: list[str] = []

    async def run(self, ids: list[str], stop: asyncio.Event) -> None:
        chance = random.Random(0)
        while not stop.is_set():
            await self._ask_for(chance.choice(ids[-200:]))
            await self._ask_for(chance.choice(ids))
            total = await self._model.count(Filters("default"))
            if total < self._most:
                self.wrong.append(f"{self._most} notifications, then {total}")
            self._most = max(self._most, total)
            self.answers += 3

    async def _ask_for(self, notification_id: str) -> None:
        before = self._heads.get(notification_id)
        facts = await self._model.get("default", notification_id)
        if facts is None and before is not None:
            self.wrong.append(f"{notification_id} was there and is not")
        if facts is not None:
            if before is not None and facts.head < before:
                self.wrong.append(f"{notification_id} went from {before} back to {facts.head}")
            self._heads[notification_id] = facts.head


async def tell_stories(stage: Any, ids: list[str], stop: asyncio.Event) -> list[Event]:
    """New notifications, a few at a time, in any order of events, and what was told."""
    chance, told, begun = random.Random(1), list[Event](), list[Event]()
    async with publishing(stage.broker_url) as publisher:
        for number in count():
            begun += story(number)
            chance.shuffle(begun)
            # Some stay behind, so that notifications stay open for a while.
            telling, begun = (begun[:-20], begun[-20:]) if not stop.is_set() else (begun, [])
            await publisher.publish(telling, timeout_s=30)
            told += telling
            ids += {event.notification_id for event in telling}
            if stop.is_set():
                break
            await asyncio.wait([asyncio.ensure_future(stop.wait())], timeout=0.02)
    return told


@asynccontextmanager
async def under_load(stage: Any) -> AsyncIterator[Readers]:
    """Projectors at work, stories told and read; at the end everything told is in the store and in the model."""
    stop, ids, readers = asyncio.Event(), list[str](), Readers(stage)
    telling = asyncio.create_task(tell_stories(stage, ids, stop))
    await eventually(lambda: len(ids) > 10, timeout_s=60)
    reading = asyncio.create_task(readers.run(ids, stop))
    try:
        yield readers
    finally:
        stop.set()
    told = await telling
    await reading
    before = sum(len(story(number)) for number in range(STORED_BEFORE))
    await eventually(lambda: all_there(stage, before + len(told)), timeout_s=60)


async def all_there(stage: Any, events: int) -> bool:
    return await EventStore(stage.database).estimated_count() == events


async def half_way(stage: Any) -> bool:
    return (await Pointers(stage.database).read()).built_up_to > ""


@pytest.mark.timeout(300)
async def test_rebuilt_under_load_with_deaths_on_the_way_readers_notice_nothing(stage: Any) -> None:
    await fill(stage)
    async with stage.process(*PROJECTOR), stage.process(*PROJECTOR) as unlucky, under_load(stage) as readers:
        async with stage.process(*REBUILD) as first:
            await eventually(lambda: half_way(stage), timeout_s=60)
            first.kill()
            unlucky.send_signal(signal.SIGKILL)
            await first.wait()
        at_death = await Pointers(stage.database).read()
        async with stage.process(*PROJECTOR), stage.process(*REBUILD) as second:
            assert await second.wait() == 0

    after = await Pointers(stage.database).read()
    assert (at_death.phase, after.phase) == (Phase.BUILDING, Phase.KEPT)
    assert after.live == at_death.spare
    assert readers.wrong == []
    assert readers.answers > 100
    for name in (after.live, after.spare):
        report = await Checker(EventStore(stage.database), ReadModel(stage.database, name), settle_s=30).run()
        assert report.differences == []
    log = (stage.folder / "log").read_text()
    assert "went on and folded" in log
