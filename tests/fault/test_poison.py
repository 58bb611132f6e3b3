"""A message that kills whoever handles it takes nothing with it that is innocent."""

import asyncio
import signal
from functools import partial
from pathlib import Path

import pytest
from aio_pika import Message
from wavecom_common.events import routing, types
from wavecom_common.messaging.headers import REASON_HEADER
from wavecom_common.testing.broker import depth, messages, publishing
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

from tests.fault.poisoned_consumer import KILLING_TYPE
from tests.fault.stage import Stage, process, taken

SCRIPT = Path(__file__).with_name("poisoned_consumer.py")


@pytest.mark.timeout(120)
async def test_one_event_of_ten_kills_every_consumer_and_it_alone_is_given_up(stage: Stage) -> None:
    poison = a_request(message="poison")
    neighbours = [a_request() for _ in range(9)]
    others = [a_request() for _ in range(20)]
    key = routing.direct_key(routing.DISPATCHER_QUEUE)
    async with publishing(stage.broker_url) as publisher:
        for events in ([*neighbours[:5], poison, *neighbours[5:]], others[:10], others[10:]):
            await publisher.publish_message(routing.EVENTS_EXCHANGE, key, publisher.message(events))

    deaths, dead = 0, list[Event]()
    record, innocent = stage.folder / "handled", {event.event_id for event in [*neighbours, *others]}
    record.touch()

    async def over(consumer: asyncio.subprocess.Process) -> bool:
        dead.extend(await taken(stage, routing.dead_queue(routing.DISPATCHER_QUEUE)))
        return consumer.returncode is not None or (bool(dead) and set(record.read_text().split()) >= innocent)

    alive = False
    while not alive:
        async with process(stage, SCRIPT, stage.broker_url, record) as consumer:
            await eventually(partial(over, consumer), timeout_s=30, what="its death, or the end of all")
            alive = consumer.returncode is None
            deaths += consumer.returncode == -signal.SIGKILL

    assert dead == [poison]
    assert set(record.read_text().split()) == innocent
    assert [(end.type, end.notification_id) for end in await taken(stage)] == [(types.FAILED, poison.notification_id)]
    # Twice with the others, three times with its neighbours, three times alone.
    assert deaths == 8


@pytest.mark.timeout(120)
async def test_a_body_that_kills_its_readers_is_given_up_unread_and_others_are_handled(stage: Stage) -> None:
    killing = Message(b"a bomb", content_type=KILLING_TYPE, message_id="killing", delivery_mode=2)
    others = [a_request() for _ in range(20)]
    key = routing.direct_key(routing.DISPATCHER_QUEUE)
    async with publishing(stage.broker_url) as publisher:
        await publisher.publish_message(routing.EVENTS_EXCHANGE, key, killing)
        await publisher.publish_message(routing.EVENTS_EXCHANGE, key, publisher.message(others))

    deaths, record, dead_queue = 0, stage.folder / "handled", routing.dead_queue(routing.DISPATCHER_QUEUE)
    record.touch()

    async def over(consumer: asyncio.subprocess.Process) -> bool:
        if consumer.returncode is not None:
            return True
        handled = set(record.read_text().split()) >= {event.event_id for event in others}
        return handled and await depth(stage.broker_url, dead_queue) == 1

    alive = False
    while not alive:
        async with process(stage, SCRIPT, stage.broker_url, record) as consumer:
            await eventually(partial(over, consumer), timeout_s=30, what="its death, or the end of all")
            alive = consumer.returncode is None
            deaths += consumer.returncode == -signal.SIGKILL

    [dead] = await messages(stage.broker_url, dead_queue)
    assert (dead.body, dead.content_type) == (b"a bomb", KILLING_TYPE)
    assert dead.headers[REASON_HEADER] == "given out 4 times, alone, and never read"
    # Twice with the others, three times alone, once when it was to be taken apart.
    assert deaths == 6
