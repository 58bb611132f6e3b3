"""A sender that holds more than it gets through in the sweeper's patience: nothing of it is lost while it lives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from status_projector.model.live_model import LiveModel
from status_projector.projector import Projector
from status_projector.recovery.resender import Resender
from status_projector.recovery.sweeper import Limits, Sweeper
from status_projector.store.event_store import EventStore
from status_projector.store.sweeps import Sweeps
from wavecom_common.delivery.ledger import Ledger
from wavecom_common.delivery.loop import DeliveryLoop
from wavecom_common.delivery.simulated import SimulatedProvider, Simulation
from wavecom_common.events import routing, types
from wavecom_common.hosting.held_reports import HeldReports
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.messaging.consumer import Consumer
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.storage.held_work import HeldWork
from wavecom_common.storage.payloads import Payloads
from wavecom_common.testing.broker import publishing, taken
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

QUEUE = routing.sender_queue("sms", "medium")
HELD = 2000
PATIENCE_S = 3.0
REPORT_S = 0.3


@asynccontextmanager
async def slow_sender(stage: Any, publisher: EventPublisher) -> AsyncIterator[Consumer]:
    """Two calls at a time of five seconds each: an hour and more for what it holds. Killed at the end."""
    adapter = SimulatedProvider(Simulation(success_rate=1, min_delay_ms=5000, max_delay_ms=5000))
    ledger = Ledger(stage.database, owner="slow")
    loop = DeliveryLoop(
        adapter,
        ledger,
        Payloads(stage.database),
        publisher,
        max_in_flight=2,
        provider_timeout_s=30,
        retry_delays_ms=[1000],
        look_again_ms=1000,
    )
    consumer = Consumer(
        stage.broker_url,
        name="slow",
        queues=[QUEUE],
        prefetch=128,
        handler=loop.handle,
        publisher=publisher,
        retry_delay_ms=1000,
    )
    reports = HeldReports(consumer.held_messages, HeldWork(stage.database), owner="slow", interval_s=REPORT_S)
    components = [ledger, reports, consumer]
    for component in components:
        await component.start()
    try:
        yield consumer
    finally:
        for component in reversed(components):
            await component.close()


async def publish(stage: Any, publisher: EventPublisher) -> None:
    """Stored, folded and ordered; what else the projector's queue gets is nobody's business here."""
    now_ms = SYSTEM_CLOCK.now_ms()
    requests = [a_request(channel="sms", recipient="+15551234567", now_ms=now_ms) for _ in range(HELD)]
    orders = [types.dispatched(request, attempt=1, now_ms=now_ms) for request in requests]
    projector = Projector(EventStore(stage.database), LiveModel(stage.database), max_events=1000, linger_s=0)
    await projector(Incoming(routing.PROJECTOR_QUEUE, "m", [*requests, *orders], asyncio.Event()))
    for start in range(0, HELD, 100):
        message = publisher.message(orders[start : start + 100])
        await publisher.publish_message(routing.EVENTS_EXCHANGE, routing.direct_key(QUEUE), message)


@pytest.mark.timeout(120)
async def test_what_a_slow_sender_holds_is_not_taken_for_lost_until_it_is_dead(stage: Any) -> None:
    async with publishing(stage.broker_url) as publisher:
        sweeper = Sweeper(
            stage.broker_url,
            EventStore(stage.database),
            LiveModel(stage.database),
            Sweeps(stage.database),
            HeldWork(stage.database, valid_s=5),
            Resender(publisher, delays_ms=[1000], max_events=100),
            Limits(after_s=PATIENCE_S, interval_s=60, most=HELD, most_waiting=100),
        )

        async def stuck() -> bool:
            now_ms = SYSTEM_CLOCK.now_ms()
            return await LiveModel(stage.database).longest_overdue(now_ms - round(PATIENCE_S * 1000)) is not None

        async def swept() -> list[Event]:
            await sweeper.sweep()
            return await taken(stage.broker_url, QUEUE)

        async with slow_sender(stage, publisher) as sender:
            await publish(stage, publisher)
            await eventually(lambda: sender.held == HELD / 100, timeout_s=30)
            await eventually(stuck, timeout_s=30)
            assert [await sweeper.sweep() for _ in range(3)] == [{}, {}, {}]
        # Its messages are back in the queue, and are lost there.
        lost = await taken(stage.broker_url, QUEUE)
        again = await eventually(swept, timeout_s=30, what="the sweep of what a dead sender held")

    assert len(lost) == HELD
    assert {event.event_id for event in again} <= {event.event_id for event in lost}
    assert len(again) >= HELD - 2


async def test_what_seems_stuck_is_looked_for_in_vain_while_the_projector_holds_events_for_long(stage: Any) -> None:
    async with publishing(stage.broker_url) as publisher:
        await publish(stage, publisher)
        await taken(stage.broker_url, QUEUE)
        await HeldWork(stage.database).report("projector", {routing.PROJECTOR_QUEUE: SYSTEM_CLOCK.now_ms()})
        sweeper = Sweeper(
            stage.broker_url,
            EventStore(stage.database),
            LiveModel(stage.database),
            Sweeps(stage.database),
            HeldWork(stage.database),
            Resender(publisher, delays_ms=[1000], max_events=100),
            Limits(after_s=0.001, interval_s=60, most=HELD, most_waiting=100),
        )

        assert [await sweeper.sweep() for _ in range(2)] == [{}, {}]
