"""Messages are lost on the way, and what waited for them goes on without anybody's help."""

import json
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest
from status_projector.model.live_model import LiveModel
from status_projector.model.read_model import Filters
from wavecom_common.events import routing, types
from wavecom_common.events.payloads import Payload, refer
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.storage.payloads import Payloads
from wavecom_common.testing.broker import publishing
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

PROCESSES = [
    ("-m", "status_projector", "projector"),
    ("-m", "status_projector", "projector"),
    ("-m", "dispatcher"),
    ("-m", "sms_sender"),
]
EACH = 20


def requests() -> list[Event]:
    """Half of them name a stored payload."""
    now_ms = SYSTEM_CLOCK.now_ms()
    made = [a_request(channel="sms", recipient="+15551234567", now_ms=now_ms) for _ in range(EACH)]
    for request in made[::2]:
        refer(request.content, "large")
    return made


def orders(requested: list[Event]) -> list[Event]:
    return [types.dispatched(request, attempt=1, now_ms=request.occurred_at_ms) for request in requested]


@pytest.mark.timeout(120)
async def test_whatever_was_lost_on_the_way_everything_is_sent_and_each_attempt_called_once(stage: Any) -> None:
    calls_file = stage.folder / "calls"
    stage.environment.update(
        {
            "WAVECOM_SWEEP_AFTER_S": "1",
            "WAVECOM_SWEEP_INTERVAL_S": "0.5",
            "WAVECOM_SIMULATED_CALLS_FILE": str(calls_file),
            "WAVECOM_SIMULATED_SUCCESS_RATE": "1",
            "WAVECOM_SIMULATED_MAX_DELAY_MS": "0",
            "WAVECOM_SIMULATED_MIN_DELAY_MS": "0",
        }
    )
    await Payloads(stage.database).store({"large": Payload("x" * 1000)}, timeout_s=5)
    unseen, undelivered, unretried = requests(), requests(), requests()
    failed = orders(unretried)
    told = [*unseen, *undelivered, *orders(undelivered), *unretried, *failed]
    told += [
        types.retry_scheduled(order, error="busy", delay_ms=500, now_ms=order.occurred_at_ms, dedup_key="a key")
        for order in failed
    ]
    # Only the projector hears of it: the dispatcher's and the sender's messages are lost.
    key = routing.direct_key(routing.PROJECTOR_QUEUE)
    async with publishing(stage.broker_url) as publisher:
        await publisher.publish_message(routing.EVENTS_EXCHANGE, key, publisher.message(told))

    async with AsyncExitStack() as running:
        for command in PROCESSES:
            await running.enter_async_context(stage.process(*command))

        async def all_sent() -> bool:
            sent = await LiveModel(stage.database).count(Filters("default", status="sent"))
            return sent == 3 * EACH and (await stage.check()).differing == 0

        await eventually(all_sent, timeout_s=90, what="the end of all")

    calls = [json.loads(line) for line in calls_file.read_text().splitlines()]
    attempts = Counter((call["notificationId"], call["attempt"]) for call in calls)
    expected = {(request.notification_id, 1) for request in [*unseen, *undelivered]}
    assert attempts == dict.fromkeys(expected | {(request.notification_id, 2) for request in unretried}, 1)
    assert Counter(call["messageBytes"] for call in calls)[1000] == 3 * EACH // 2
    assert Counter(call["key"] for call in calls)["a key"] == EACH
    assert '"swept"' in (stage.folder / "log").read_text()
