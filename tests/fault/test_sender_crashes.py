"""A sender is killed at every step of a delivery; what follows is exactly what the ledger promises."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from wavecom_common.events import codec, routing, types
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.storage import indexes
from wavecom_common.storage.client import Database
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually

SCRIPT = Path(__file__).with_name("crashing_sender.py")
DELAYS_MS = [200, 400, 800, 1000]


@dataclass(frozen=True)
class Stage:
    """Where a sender is put: its broker, its database, and the provider's own record of calls."""

    broker_url: str
    environment: dict[str, str]
    folder: Path

    @property
    def calls(self) -> list[str]:
        record = self.folder / "calls"
        return [json.loads(line)["key"] for line in record.read_text().splitlines()] if record.exists() else []


@pytest.fixture
async def stage(broker_url: str, mongodb_url: str, database_name: str, tmp_path: Path) -> Stage:
    await topology.apply(broker_url, topology.plan(DELAYS_MS))
    database = Database(mongodb_url, database_name)
    await indexes.apply(database)
    await database.close()
    environment = {
        **os.environ,
        "WAVECOM_RABBITMQ_URL": broker_url,
        "WAVECOM_MONGODB_URL": mongodb_url,
        "WAVECOM_MONGODB_DATABASE": database_name,
        "WAVECOM_RETRY_BASE_DELAY_S": "0.2",
        "WAVECOM_RETRY_LEVELS": "3",
        "WAVECOM_LEASE_S": "1.5",
        "WAVECOM_SIMULATED_MIN_DELAY_MS": "200",
        "WAVECOM_SIMULATED_MAX_DELAY_MS": "200",
        "WAVECOM_SIMULATED_CALLS_FILE": str(tmp_path / "calls"),
    }
    return Stage(broker_url, environment, tmp_path)


@asynccontextmanager
async def sender(stage: Stage, point: str) -> AsyncIterator[asyncio.subprocess.Process]:
    with (stage.folder / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, SCRIPT, point, stage.folder / "marker", env=stage.environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def order(stage: Stage, on_unknown: str = "resend") -> str:
    """Hand one attempt to the sender's queue, as the dispatcher does."""
    publisher = EventPublisher(stage.broker_url, name="test", required_queues=[])
    await publisher.start()
    now_ms = SYSTEM_CLOCK.now_ms()
    request = a_request(channel="sms", recipient="+15551234567", on_unknown=on_unknown, now_ms=now_ms)
    await publisher.publish([a_dispatch(request=request, now_ms=now_ms)], timeout_s=10)
    await publisher.close()
    return request.notification_id


async def told(stage: Stage) -> list[str]:
    """The types of the events on their way to the projector, each fact once, in order of first telling."""
    seen: dict[str, str] = {}
    async with connected(stage.broker_url, "test") as connection:
        channel = await connection.channel()
        queue = await channel.get_queue(routing.PROJECTOR_QUEUE)
        while (message := await queue.get(no_ack=True, fail=False)) is not None:
            for event in codec.decode(
                message.body, content_type=message.content_type, content_encoding=message.content_encoding
            ):
                seen.setdefault(event.event_id, event.type)
    return list(seen.values())


async def run_to_the_end(stage: Stage, point: str, on_unknown: str = "resend") -> tuple[list[str], list[str]]:
    """One delivery with a crash at that point, and a successor; the events told and the calls made."""
    notification_id = await order(stage, on_unknown)
    async with sender(stage, point) as first:
        async with asyncio.timeout(30):
            assert await first.wait() == -signal.SIGKILL
    async with sender(stage, "nowhere"):
        await eventually(lambda: settled(stage), timeout_s=30, what="the end of the delivery")
    events = await told(stage)
    assert all(key == f"{notification_id}:1" for key in stage.calls)
    return events, stage.calls


async def settled(stage: Stage) -> bool:
    """Whether the sender's queues are empty, nothing waits, and an end is on its way to the projector."""
    queues = [routing.sender_queue("sms", priority) for priority in ("high", "medium", "low")]
    queues += [routing.retry_name(delay_ms) for delay_ms in DELAYS_MS]
    async with connected(stage.broker_url, "test") as connection:
        waiting = await topology.message_counts(connection, queues)
        ready = await topology.message_counts(connection, [routing.PROJECTOR_QUEUE])
    return not any(waiting.values()) and (ready[routing.PROJECTOR_QUEUE] or 0) >= 3


UNKNOWN = [types.DISPATCHED, types.OUTCOME_UNKNOWN, types.STARTED, types.SENT]
KNOWN = [types.DISPATCHED, types.STARTED, types.SENT]


async def test_killed_after_its_claim_the_attempt_is_taken_over_and_told_as_unknown(stage: Stage) -> None:
    events, calls = await run_to_the_end(stage, "after claim")
    assert len(calls) == 1
    assert sorted(events) == sorted(UNKNOWN)


@pytest.mark.parametrize("point", ["during the provider call", "after the provider's answer"])
async def test_killed_before_the_outcome_is_stored_the_call_is_repeated_with_the_same_key(
    stage: Stage, point: str
) -> None:
    events, calls = await run_to_the_end(stage, point)
    assert len(calls) == 2
    assert len(set(calls)) == 1
    assert sorted(events) == sorted(UNKNOWN)


@pytest.mark.parametrize("point", ["after the outcome is stored", "after publish", "before ack"])
async def test_killed_once_the_outcome_is_stored_the_provider_is_not_called_again(stage: Stage, point: str) -> None:
    events, calls = await run_to_the_end(stage, point)
    assert len(calls) == 1
    assert types.SENT in events
    assert types.OUTCOME_UNKNOWN not in events


async def test_a_client_that_wants_no_second_call_gets_none(stage: Stage) -> None:
    events, calls = await run_to_the_end(stage, "during the provider call", on_unknown="fail")
    assert len(calls) == 1
    assert types.FAILED in events
    assert types.SENT not in events
