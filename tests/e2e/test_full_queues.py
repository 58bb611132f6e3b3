"""Queues at their limit: the API refuses, and all that it accepted comes through the same small queues."""

import asyncio
from dataclasses import replace

import httpx
import pytest
from status_projector.store.event_store import EventStore
from wavecom_common.events import routing, types
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import connected
from wavecom_common.storage.client import Database
from wavecom_common.testing.waiting import eventually

from tests.e2e.stage import BODY, PATH, Stage, api, process

# Messages; each has a few notifications.
ROOM = 20
SETTINGS = {
    "WAVECOM_RETRY_BASE_DELAY_S": "1",
    "WAVECOM_RETRY_LEVELS": "1",
    "WAVECOM_SIMULATED_SUCCESS_RATE": "1",
    "WAVECOM_SIMULATED_MIN_DELAY_MS": "0",
    "WAVECOM_SIMULATED_MAX_DELAY_MS": "0",
    # They publish many small messages.
    "WAVECOM_BATCH_MAX_EVENTS": "2",
}


@pytest.fixture
def planned() -> topology.Topology:
    plan = topology.plan([1_000])
    small = [replace(queue, arguments={**queue.arguments, "x-max-length": ROOM}) for queue in plan.queues]
    return replace(plan, queues=small)


@pytest.mark.timeout(120)
async def test_full_queues_are_503_and_everything_accepted_reaches_its_end_once_they_are_read(
    stage: Stage, mongodb_url: str, database_name: str, unused_tcp_port: int
) -> None:
    accepted, refused = set[str](), list[httpx.Response]()
    database = Database(mongodb_url, database_name)
    store = EventStore(database)

    async def post(client: httpx.AsyncClient) -> bool:
        answer = await client.post(PATH, json=BODY)
        if answer.status_code == 201:
            accepted.add(answer.json()["data"]["id"])
        else:
            refused.append(answer)
        return answer.status_code == 201

    async def post_until_it_is_full(client: httpx.AsyncClient) -> None:
        while len(refused) < 50 and len(accepted) < 10_000:
            await post(client)

    async with api(stage, unused_tcp_port, WAVECOM_BATCH_MAX_EVENTS="5") as (_, client):
        await asyncio.gather(*[post_until_it_is_full(client) for _ in range(20)])
        assert refused
        assert len(accepted) >= ROOM
        async with (
            process(stage, "-m", "dispatcher", **SETTINGS),
            process(stage, "-m", "sms_sender", **SETTINGS),
            process(stage, "-m", "status_projector", "projector", **SETTINGS),
        ):
            await eventually(lambda: post(client), timeout_s=30, what="a POST that is taken")

            async def sent() -> set[str]:
                return {event.notification_id async for event in store.stream() if event.type == types.SENT}

            async def all_is_sent() -> bool:
                return accepted <= await sent() and await nothing_waits(stage)

            await eventually(all_is_sent, timeout_s=60, what="the end of all that was accepted")
            came_out = await sent()
    await database.close()
    assert {(answer.status_code, answer.headers["retry-after"]) for answer in refused} == {(503, "5")}
    assert {answer.json()["message"] for answer in refused} == {"The system is at its limit; try again later"}
    # What was refused reached some of its queues, or all of them, and is withdrawn.
    assert came_out == accepted


async def nothing_waits(stage: Stage) -> bool:
    queues = [queue.name for queue in topology.plan([]).queues if not queue.name.endswith(routing.dead_queue(""))]
    async with connected(stage.broker_url, "test") as connection:
        return not any((await topology.message_counts(connection, queues)).values())
