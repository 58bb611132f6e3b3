"""A dispatcher is killed at every step; each request is dispatched, and a second command makes no second call."""

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest
from wavecom_common.events import routing, types
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.testing.broker import depth
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.waiting import eventually

from tests.fault.stage import Stage, process, publish, taken

SCRIPT = Path(__file__).with_name("crashing_dispatcher.py")
MANY = 30
QUICK = {
    "WAVECOM_SIMULATED_SUCCESS_RATE": "1",
    "WAVECOM_SIMULATED_MIN_DELAY_MS": "0",
    "WAVECOM_SIMULATED_MAX_DELAY_MS": "0",
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("point", "published"), [("received", False), ("after publish, before ack", True)])
async def test_killed_at_any_step_each_request_is_dispatched_and_called_once(
    stage: Stage, point: str, published: bool
) -> None:
    now_ms = SYSTEM_CLOCK.now_ms()
    requests = [a_request(channel="sms", now_ms=now_ms) for _ in range(MANY)]
    kinds, sent = set[str](), set[str]()

    async def all_sent() -> bool:
        events = await taken(stage)
        kinds.update(event.type for event in events)
        sent.update(event.notification_id for event in events if event.type == types.SENT)
        return sent == {request.notification_id for request in requests}

    await publish(stage, *requests)
    async with process(stage, SCRIPT, point, stage.folder / "marker") as first:
        async with asyncio.timeout(30):
            assert await first.wait() == -signal.SIGKILL
    commands = await depth(stage.broker_url, routing.sender_queue("sms", "medium"))
    assert bool(commands) == published
    async with process(stage, "-m", "sms_sender", **QUICK):
        if published:
            await eventually(all_sent, timeout_s=30, what="the end of all")
            # The second dispatcher commands it all again, and the sender only tells again how it ended.
            sent.clear()
        async with process(stage, SCRIPT, "nowhere", stage.folder / "marker"):
            await eventually(all_sent, timeout_s=30, what="the end of all")
    assert Counter(stage.calls) == dict.fromkeys((f"{request.notification_id}:1" for request in requests), 1)
    assert types.OUTCOME_UNKNOWN not in kinds
