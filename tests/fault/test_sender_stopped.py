"""A sender is told to stop with many calls under way: each of them ends, and its successor does only the rest."""

import asyncio
import signal
from collections import Counter

import pytest
from wavecom_common.events import types
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually

from tests.fault.stage import Stage, process, publish, taken

AT_ONCE = 50
DRAIN_TIMEOUT_S = 15.0
SETTINGS = {
    "WAVECOM_SIMULATED_SUCCESS_RATE": "1",
    "WAVECOM_SIMULATED_MIN_DELAY_MS": "1000",
    "WAVECOM_SIMULATED_MAX_DELAY_MS": "1000",
    "WAVECOM_MAX_IN_FLIGHT": str(AT_ONCE),
    "WAVECOM_DRAIN_TIMEOUT_S": str(DRAIN_TIMEOUT_S),
}


@pytest.mark.timeout(120)
async def test_told_to_stop_with_fifty_calls_under_way_it_finishes_them_and_no_call_is_made_twice(
    stage: Stage,
) -> None:
    now_ms = SYSTEM_CLOCK.now_ms()
    requests = [a_request(channel="sms", now_ms=now_ms) for _ in range(3 * AT_ONCE)]
    told = Counter[tuple[str, str]]()

    async def all_sent() -> bool:
        told.update((event.notification_id, event.type) for event in await taken(stage))
        return all(told[request.notification_id, types.SENT] for request in requests)

    async with process(stage, "-m", "sms_sender", **SETTINGS) as first:
        await publish(stage, *[a_dispatch(request=request, now_ms=now_ms) for request in requests])
        await eventually(lambda: len(stage.calls) >= AT_ONCE, timeout_s=30, what="calls under way")
        first.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            assert await first.wait() == 0
    by_the_first = stage.calls
    async with process(stage, "-m", "sms_sender", **SETTINGS):
        await eventually(all_sent, timeout_s=60, what="the end of all")
    assert AT_ONCE <= len(by_the_first) < len(requests)
    assert Counter(stage.calls) == dict.fromkeys((f"{request.notification_id}:1" for request in requests), 1)
    assert types.OUTCOME_UNKNOWN not in {kind for _, kind in told}
