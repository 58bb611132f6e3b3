"""Whatever is done to the projectors, the read model ends as the fold of the event store."""

import asyncio
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from wavecom_common.testing.broker import publishing
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

from tests.recovery.stories import story, told_again

SCRIPT = Path(__file__).with_name("crashing_projector.py")
PROJECTOR = ("-m", "status_projector", "projector")


async def publish_shuffled(url: str, events: list[Event], chance: random.Random) -> None:
    """Every event at least once, a third of them again with another time, in any order."""
    telling = [*events, *(told_again(event, chance.randrange(1, 500)) for event in events[::3])]
    chance.shuffle(telling)
    async with publishing(url, max_events=10) as publisher:
        await publisher.publish(telling, timeout_s=30)


async def agreed(stage: Any, events: int) -> bool:
    report = await stage.check()
    return report.events == events and report.differing == 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize("point", ["between the writes", "before ack"])
async def test_two_projectors_killed_again_and_again_leave_model_and_store_agreed(stage: Any, point: str) -> None:
    stage.environment.update({"WAVECOM_PREFETCH": "8", "WAVECOM_PROJECTOR_MAX_EVENTS": "25"})
    chance = random.Random(4711)
    events = [event for number in range(300) for event in story(number)]
    await publish_shuffled(stage.broker_url, events, chance)

    async def die_over_and_over(batches: list[int]) -> None:
        for batch in batches:
            async with stage.process(SCRIPT, point, str(batch)) as projector, asyncio.timeout(60):
                assert await projector.wait() == -signal.SIGKILL

    await asyncio.gather(*[die_over_and_over([chance.randrange(1, 6) for _ in range(2)]) for _ in range(2)])
    halfway = await stage.check()
    async with stage.process(*PROJECTOR), stage.process(*PROJECTOR):
        await eventually(lambda: agreed(stage, len(events)), timeout_s=60, what="agreement")

    assert 0 < halfway.events < len(events)
    if point == "between the writes":
        assert halfway.differing > 0
    assert (await stage.check()).open == 0
