"""How many requests are worked on at once, and what POSTs may hold together."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest_api.errors import Refusal
from ingest_api.intake import LITTLE_BYTES, MAX_GETS, MIB, RESERVED_BYTES, Intake, memory_bytes
from ingest_api.routes import BATCH, NOTIFICATIONS

SMS = {"recipient": "+2348012345678", "message": "Hello", "channel": "sms"}
JSON = {"Content-Type": "application/json"}


async def complete() -> dict[str, object]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def incomplete() -> dict[str, object]:
    return {"type": "http.request", "body": b"x", "more_body": True}


def test_what_a_post_holds_grows_with_its_body_and_with_the_notifications_that_fit_it():
    assert memory_bytes(0, 1) == 2_700
    assert memory_bytes(131_072, 1) == 3 * 131_072 + 2_700
    assert memory_bytes(60_000, 1_000) > 2_700_000
    assert memory_bytes(4 * MIB, 1_000) == 12 * MIB + 2_700_000


@given(st.lists(st.integers(0, 20 * MIB), max_size=60))
def test_no_more_is_held_than_may_be_and_little_ones_have_a_reserve(sizes: list[int]):
    intake = Intake(128 * MIB)
    held = []
    for size in sizes:
        total = sum(held)
        if size > LITTLE_BYTES and total + size > 128 * MIB - RESERVED_BYTES:
            with pytest.raises(Refusal, match="memory"):
                intake.admit(complete, size)
        else:
            intake.admit(complete, size)
            held.append(size)
    assert sum(held) <= 128 * MIB
    intake.admit(complete, LITTLE_BYTES)


async def test_a_post_whose_body_is_not_complete_is_no_work_yet():
    intake = Intake(128 * MIB, max_posts=1)

    with intake.admit(incomplete, 1) as first, intake.admit(incomplete, 1) as second:
        await first()
        await second()
        with intake.admit(complete, 1) as third, intake.admit(complete, 1) as fourth:
            await third()
            with pytest.raises(Refusal, match="Too many requests"):
                await fourth()
    with intake.admit(complete, 1) as fifth:
        await fifth()


@pytest.fixture
async def busy(make_app, make_client, pipeline):
    """A client of an API that holds publishes and questions until `go`."""
    go = asyncio.Event()
    publish, page = pipeline.publish, pipeline.page

    async def held_publish(events, *, timeout_s):
        await go.wait()
        await publish(events, timeout_s=timeout_s)

    async def held_page(**question):
        await go.wait()
        return await page(**question)

    pipeline.publish, pipeline.page = held_publish, held_page
    async with make_client(make_app()) as client:
        yield client, go


async def test_large_batches_keep_large_ones_out_and_small_posts_in(busy):
    client, go = busy
    body = json.dumps({"notifications": [SMS | {"metadata": {"x": "y" * 4_000}}] * 1_000}).encode()
    waiting = [asyncio.create_task(client.post(BATCH, content=body, headers=JSON)) for _ in range(20)]
    done, pending = await asyncio.wait(waiting, timeout=5)
    assert 4 <= len(pending) <= 7
    for answer in [task.result() for task in done]:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["message"] == "The requests being worked on take too much memory; try again"

    small = [asyncio.create_task(client.post(NOTIFICATIONS, json=SMS)) for _ in range(100)]
    go.set()
    assert {answer.status_code for answer in await asyncio.gather(*small, *pending)} == {201}
    assert (await client.post(BATCH, content=body, headers=JSON)).status_code == 201


async def test_gets_beyond_the_limit_are_told_to_come_again_and_posts_and_health_go_on(busy):
    client, go = busy
    waiting = [asyncio.create_task(client.get(NOTIFICATIONS)) for _ in range(MAX_GETS)]
    post = asyncio.create_task(client.post(NOTIFICATIONS, json=SMS))
    await asyncio.wait([*waiting, post], timeout=0.5)

    refused = await client.get(NOTIFICATIONS)
    health = await client.get("/health")

    assert (refused.status_code, refused.headers["retry-after"], health.status_code) == (503, "1", 200)
    go.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    assert (await post).status_code == 201
    assert (await client.get(NOTIFICATIONS)).status_code == 200


async def test_a_body_of_unknown_length_is_taken_for_the_longest(busy, monkeypatch):
    monkeypatch.setattr("ingest_api.body.BODY_TIMEOUT_S", 0.5)
    client, go = busy

    async def stalled():
        yield b"["
        await asyncio.Future()

    waiting = [asyncio.create_task(client.post(BATCH, content=stalled(), headers=JSON)) for _ in range(20)]
    statuses = [answer.status_code for answer in await asyncio.gather(*waiting)]
    assert 4 <= statuses.count(408) <= 7
    assert statuses.count(503) == 20 - statuses.count(408)
    go.set()
    assert (await client.post(NOTIFICATIONS, json=SMS)).status_code == 201
