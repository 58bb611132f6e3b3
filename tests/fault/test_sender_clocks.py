"""Two senders whose clocks are five minutes apart: neither takes a living one's attempt, nor waits for a dead one's."""

from dataclasses import replace

import pytest
from wavecom_common.events import types
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually

from tests.fault.stage import Stage, publish, sender, told


@pytest.mark.timeout(180)
@pytest.mark.parametrize("owner_ahead_s", [-150, 150])
async def test_the_lease_of_a_sender_lasts_as_long_as_its_owner_whatever_the_clocks_say(
    stage: Stage, owner_ahead_s: int
) -> None:
    slow = {"WAVECOM_SIMULATED_MIN_DELAY_MS": "600000", "WAVECOM_SIMULATED_MAX_DELAY_MS": "600000"}
    # Each holds one message at a time, so the order that is told again goes to the other one.
    limits = {"WAVECOM_PREFETCH": "1", "WAVECOM_PROVIDER_TIMEOUT_S": "600", "WAVECOM_LEASE_S": "3"}
    stage = replace(stage, environment=stage.environment | slow | limits)
    dispatched = a_dispatch(request=a_request(channel="sms"))

    async with sender(stage, "nowhere", clock_ahead_s=owner_ahead_s) as owner:
        await publish(stage, dispatched)
        await eventually(lambda: len(stage.calls) == 1, timeout_s=60)
        async with sender(stage, "nowhere", clock_ahead_s=-owner_ahead_s) as other:
            await publish(stage, dispatched)
            await eventually(lambda: looks(stage) >= 4, timeout_s=60)
            assert len(stage.calls) == 1
            assert types.OUTCOME_UNKNOWN not in await told(stage)

            owner.kill()
            await eventually(lambda: len(stage.calls) == 2, timeout_s=60)
            assert types.OUTCOME_UNKNOWN in await told(stage)
            other.kill()
    assert set(stage.calls) == {dispatched.dedup_key}


def looks(stage: Stage) -> int:
    """How often a sender found the attempt in another one's hand."""
    return stage.log.count("another sender has the attempt in hand")
