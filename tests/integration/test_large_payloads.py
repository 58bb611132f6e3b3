"""A sender and the payloads that events only name."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import pytest
from wavecom_common.delivery.port import Attempt
from wavecom_common.events import routing, types
from wavecom_common.events.outcomes import Delivered, DeliveryOutcome
from wavecom_common.events.payloads import Payload, refer
from wavecom_common.hosting.sender import SenderSettings, sender_components
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.messaging import topology
from wavecom_common.messaging.consumer import Consumer
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import ACK, Outcome
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.storage.client import Database
from wavecom_common.storage.payloads import Payloads
from wavecom_common.testing.builders import a_dispatch
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

pytestmark = pytest.mark.connected


class Provider:
    """Takes everything, and remembers it."""

    name = "recording"

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        self.attempts.append(attempt)
        return Delivered()

    async def close(self) -> None:
        pass


@asynccontextmanager
async def sending(settings: SenderSettings, provider: Provider, told: list[Event]) -> AsyncIterator[EventPublisher]:
    """A sender at work; what it tells is collected."""
    url = settings.rabbitmq_url.get_secret_value()

    async def collect(incoming: Incoming) -> list[Outcome]:
        told.extend(incoming.events)
        return [ACK] * len(incoming.events)

    publisher = EventPublisher(url, name="test", required_queues=[])
    queues = [routing.PROJECTOR_QUEUE]
    listener = Consumer(
        url, name="test", queues=queues, prefetch=10, handler=collect, publisher=publisher, retry_delay_ms=1000
    )
    components = [publisher, listener, *sender_components("email", settings, provider)]
    for component in components:
        await component.start()
    try:
        yield publisher
    finally:
        for component in reversed(components):
            await component.drain()
        for component in reversed(components):
            await component.close()


def naming(payload_id: str) -> Event:
    event = a_dispatch()
    refer(event.content, payload_id)
    return event


async def test_a_payload_is_loaded_before_the_call_and_one_that_is_missing_ends_the_notification(
    broker_url: str, mongodb_url: str, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVECOM_RABBITMQ_URL", broker_url)
    monkeypatch.setenv("WAVECOM_MONGODB_URL", mongodb_url)
    monkeypatch.setenv("WAVECOM_MONGODB_DATABASE", database_name)
    settings = SenderSettings.load()
    await topology.apply(broker_url, topology.plan(settings.broker_delays_ms), settle_s=0)
    database = Database(mongodb_url, database_name)
    whole = Payload("x" * 65_536, "A long letter")
    await Payloads(database).store({"large": whole}, timeout_s=5)
    await database.close()
    load, failures = Payloads.load, [Unavailable("x"), Unavailable("x")]

    async def load_later(self: Payloads, payload_ids: Collection[str]) -> dict[str, Payload]:
        if failures:
            raise failures.pop()
        return await load(self, payload_ids)

    monkeypatch.setattr(Payloads, "load", load_later)
    provider, told = Provider(), list[Event]()
    async with sending(settings, provider, told) as publisher:
        stored, missing = naming("large"), naming("nowhere")
        await publisher.publish([stored, missing], timeout_s=5)

        def ends() -> dict[str, Event]:
            return {event.notification_id: event for event in told if event.type in types.TERMINAL_TYPES}

        await eventually(lambda: len(ends()) == 2, timeout_s=20, what="both ends")

    [attempt] = provider.attempts
    assert (attempt.notification_id, attempt.message, attempt.subject) == (
        stored.notification_id,
        whole.message,
        whole.subject,
    )
    end = ends()[missing.notification_id]
    assert (end.type, end.failed.reason) == (types.FAILED, types.PERMANENT)
    assert end.failed.error == "what was to be delivered is not stored any more"
