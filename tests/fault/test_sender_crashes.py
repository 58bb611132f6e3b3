"""A sender is killed at every step of a delivery; what follows is exactly what the ledger promises."""

import asyncio
import signal
from functools import partial

import pytest
from wavecom_common.events import routing, types
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

from tests.fault.stage import UNKNOWN, Stage, order, sender, settled, taken, told


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


async def test_killed_before_its_claim_the_attempt_is_simply_made_by_the_next(stage: Stage) -> None:
    events, calls = await run_to_the_end(stage, "before claim")
    assert len(calls) == 1
    assert sorted(events) == sorted([types.DISPATCHED, types.STARTED, types.SENT])


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
    assert sorted(events) == sorted([types.DISPATCHED, types.STARTED, types.SENT])


@pytest.mark.timeout(120)
async def test_a_call_that_kills_every_sender_is_given_up_and_told(stage: Stage) -> None:
    notification_id = await order(stage)
    dead: list[Event] = []

    async def over(process: asyncio.subprocess.Process) -> bool:
        dead.extend(await taken(stage, routing.dead_queue(routing.sender_queue("sms", "medium"))))
        return bool(dead) or process.returncode is not None

    while not dead:
        async with sender(stage, "in every call") as process:
            await eventually(partial(over, process), timeout_s=30, what="its death, or the end of all")
    events = await told(stage)

    assert [event.notification_id for event in dead] == [notification_id]
    assert sorted(events) == sorted([types.DISPATCHED, types.STARTED, types.OUTCOME_UNKNOWN, types.FAILED])
    # Twice as one of many, twice alone.
    assert stage.calls == [f"{notification_id}:1"] * 4


async def test_a_client_that_wants_no_second_call_gets_none(stage: Stage) -> None:
    events, calls = await run_to_the_end(stage, "during the provider call", on_unknown="fail")
    assert len(calls) == 1
    assert sorted(events) == sorted([types.DISPATCHED, types.STARTED, types.OUTCOME_UNKNOWN, types.FAILED])
