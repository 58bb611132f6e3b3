"""A provider that is down or hangs holds up its own channel and no other."""

import pytest
from wavecom_common.events import types
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.waiting import eventually

from tests.fault.stage import Stage, process, publish, taken

EACH = 100
QUICK = {
    "WAVECOM_SIMULATED_MIN_DELAY_MS": "0",
    "WAVECOM_SIMULATED_MAX_DELAY_MS": "0",
    "WAVECOM_SIMULATED_SUCCESS_RATE": "1",
}
DOWN = QUICK | {"WAVECOM_SIMULATED_SUCCESS_RATE": "0"}
HANGS = {
    "WAVECOM_SIMULATED_MIN_DELAY_MS": "600000",
    "WAVECOM_SIMULATED_MAX_DELAY_MS": "600000",
    "WAVECOM_PROVIDER_TIMEOUT_S": "600",
    "WAVECOM_MAX_IN_FLIGHT": "10",
    "WAVECOM_DRAIN_TIMEOUT_S": "0.5",
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("trouble", [DOWN, HANGS], ids=["down", "hangs"])
async def test_all_of_another_channel_is_sent_while_nothing_of_the_troubled_one_is(
    stage: Stage, trouble: dict[str, str]
) -> None:
    requests = [a_request(channel=channel) for _ in range(EACH) for channel in ("sms", "push")]
    sent = set[str]()

    async def all_of_the_other() -> bool:
        sent.update(event.notification_id for event in await taken(stage) if event.type == types.SENT)
        return sent >= {request.notification_id for request in requests if request.channel == "push"}

    async with (
        process(stage, "-m", "dispatcher"),
        process(stage, "-m", "sms_sender", **trouble),
        process(stage, "-m", "push_sender", **QUICK),
    ):
        # The troubled channel is busy with its own before the other has anything to do.
        await publish(stage, *[request for request in requests if request.channel == "sms"])
        await eventually(lambda: len(stage.calls) > 0, timeout_s=60)
        await publish(stage, *requests)
        await eventually(all_of_the_other, timeout_s=60)
    assert sent == {request.notification_id for request in requests if request.channel == "push"}
