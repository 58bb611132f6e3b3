"""The broker loses all its data under load: every notification in the event store still reaches its end."""

import asyncio
import re
import signal

import pytest
from wavecom_common.events import types
from wavecom_common.testing.waiting import eventually

from tests.recovery.own_stack import Own, under_load


def sent_again(output: str) -> dict[str, int]:
    """What a recovery said it sent, by kind."""
    return {kind: int(number.replace(",", "")) for kind, number in re.findall(r"^  (\w+): ([\d,]+)$", output, re.M)}


@pytest.fixture
def more() -> dict[str, str]:
    """The command is what is tried here: the sweeper would have sent the requests again before."""
    return {"WAVECOM_SWEEP_REQUESTS_AFTER_S": "1000"}


@pytest.mark.timeout(400)
async def test_after_a_total_loss_of_the_broker_everything_stored_reaches_its_end(own: Own) -> None:
    # More than have to be sent again: what a stopped process holds already, it handles when it goes on.
    async def attempts_wait() -> bool:
        return await own.stand_between(types.DISPATCHED, types.STARTED) > 60

    async def requests_wait() -> bool:
        return await own.stand_between(types.REQUESTED, types.DISPATCHED) > 60

    async with under_load(own) as accepted:
        await eventually(lambda: len(accepted) > 100, timeout_s=60)
        # What is in the queues of the one and of the other is lost with them.
        own.signal("sms-sender", signal.SIGSTOP)
        await eventually(attempts_wait, timeout_s=60)
        own.signal("dispatcher", signal.SIGSTOP)
        await eventually(requests_wait, timeout_s=60)
        await asyncio.to_thread(own.lose_everything)
        before = len(accepted)
        refused, said = await own.wavecom("recover")
        assert refused == 1
        assert "run `wavecom topology apply` first" in said
        assert (await own.wavecom("topology", "apply"))[0] == 0
        for name in ("dispatcher", "sms-sender"):
            own.signal(name, signal.SIGCONT)
        # It goes on by itself.
        await eventually(lambda: len(accepted) > before + 20, timeout_s=60)
    assert (await own.check()).open > 100

    dry = await own.wavecom("recover", "--dry-run")
    done = await own.wavecom("recover", "--rate", "1000")

    async def all_ended() -> bool:
        report = await own.check()
        return report.open == 0 and report.differing == 0

    await eventually(all_ended, timeout_s=120, what="the end of everything stored")
    assert (dry[0], done[0]) == (0, 0)
    kinds = sent_again(done[1])
    assert kinds["request"] > 30
    assert kinds["attempt"] > 20
    assert kinds.get("retry", 0) > 0

    requested = {notification_id for notification_id, _ in await own.stored(types.REQUESTED)}
    ended = {one for end in (types.SENT, types.FAILED) for one, _ in await own.stored(end)}
    assert requested <= ended
    unknown = await own.stored(types.OUTCOME_UNKNOWN)
    assert {attempt for attempt, times in own.calls.items() if times > 1} <= unknown
