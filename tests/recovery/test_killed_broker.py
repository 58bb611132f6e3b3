"""The broker is killed under load: what only reached the event store has its end soon after it is back."""

import asyncio

import pytest
from wavecom_common.events import types
from wavecom_common.testing.waiting import eventually

from tests.recovery.own_stack import Own, under_load

KILLS = 3


@pytest.mark.timeout(300)
async def test_after_each_kill_of_the_broker_everything_stored_has_its_end_within_seconds(own: Own) -> None:
    async def all_ended() -> bool:
        report = await own.check()
        return report.open == 0 and report.differing == 0

    async with under_load(own) as accepted:
        for _ in range(KILLS):
            before = len(accepted)
            await eventually(lambda before=before: len(accepted) > before + 100, timeout_s=60)  # type: ignore[misc]
            await asyncio.to_thread(own.kill_broker)
    # Ten seconds of patience, found stuck twice, and two retries of two and four seconds.
    await eventually(all_ended, timeout_s=45, what="the end of everything stored")

    requested = {notification_id for notification_id, _ in await own.stored(types.REQUESTED)}
    assert set(accepted) <= requested
