"""A projector whose link to the database is slow or swallows: it takes no more than it may hold, and loses nothing."""

import random
from time import perf_counter
from typing import Any

import pytest
from wavecom_common.events import routing
from wavecom_common.testing.broker import depth, publishing
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

from tests.proxied import proxied
from tests.recovery.stories import story

PROJECTOR = ("-m", "status_projector", "projector")
PREFETCH = 4
# Longer than the ten seconds that an operation on the database may take.
SWALLOWED_S = 12.0


async def publish(stage: Any, events: list[Event]) -> int:
    """How many messages that were, many times what the projector may hold."""
    random.Random(4711).shuffle(events)
    async with publishing(stage.broker_url, max_events=10) as publisher:
        await publisher.publish(events, timeout_s=30)
    assert publisher.messages_published > 4 * PREFETCH
    return publisher.messages_published


async def waiting(stage: Any) -> int:
    return await depth(stage.broker_url, routing.PROJECTOR_QUEUE) or 0


async def agreed(stage: Any, events: int) -> bool:
    report = await stage.check()
    return report.events == events and report.differing == 0


@pytest.mark.timeout(180)
async def test_a_link_that_is_slow_and_then_swallows_everything_only_lets_the_queue_grow(
    stage: Any, mongodb_url: str
) -> None:
    before = [event for number in range(60) for event in story(number)]
    meanwhile = [event for number in range(60, 120) for event in story(number)]
    async with proxied(mongodb_url) as (proxy, url):
        # Each way.
        proxy.delay_s = 0.2
        stage.environment.update({"WAVECOM_MONGODB_URL": url, "WAVECOM_PREFETCH": str(PREFETCH)})
        await publish(stage, before)
        async with stage.process(*PROJECTOR):
            await eventually(lambda: agreed(stage, len(before)), timeout_s=60, what="agreement over a slow link")

            proxy.blackhole(True)
            messages = least = await publish(stage, meanwhile)
            begun_s = perf_counter()

            async def long_enough() -> bool:
                nonlocal least
                least = min(least, await waiting(stage))
                return perf_counter() - begun_s > SWALLOWED_S

            await eventually(long_enough, timeout_s=60)
            # One of those before may be in hand still: stored and folded, but the answer was swallowed.
            assert messages - PREFETCH <= least < messages
            assert (await stage.check()).events == len(before)

            proxy.blackhole(False)
            everything = len(before) + len(meanwhile)
            await eventually(lambda: agreed(stage, everything), timeout_s=60, what="agreement after the silence")
            await eventually(lambda: nothing_waits(stage))
    assert (await stage.check()).open == 0


async def nothing_waits(stage: Any) -> bool:
    return await waiting(stage) == 0
