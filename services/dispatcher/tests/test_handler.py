"""What a dispatcher publishes, counts and answers for each event of a message."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from dispatcher.handler import Dispatcher
from prometheus_client import REGISTRY
from wavecom_common.events import types
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import ACK, DeadLetter
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_proto.v1.events_pb2 import Event

NOW_MS = 7_000


class Clock:
    def now_ms(self) -> int:
        return NOW_MS

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


class Publisher:
    def __init__(self) -> None:
        self.published: list[list[Event]] = []
        self.errors: list[Exception] = []

    async def publish(self, events: Sequence[Event], *, timeout_s: float | None = None) -> None:
        assert timeout_s is None
        if self.errors:
            raise self.errors.pop()
        self.published.append(list(events))


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def dispatcher(publisher: Publisher) -> Dispatcher:
    return Dispatcher(cast("Any", publisher), Clock())


def incoming(*events: Event) -> Incoming:
    return Incoming("q", "m", events, asyncio.Event())


def failed(channel: str) -> float:
    labels = {"channel": channel, "priority": "low", "reason": types.UNROUTABLE}
    return REGISTRY.get_sample_value("wavecom_notifications_failed_total", labels) or 0


async def test_the_requests_of_a_message_are_dispatched_together(dispatcher: Dispatcher, publisher: Publisher) -> None:
    requests = [a_request(), a_request(channel="sms", priority="high")]
    assert await dispatcher.handle(incoming(*requests)) == [ACK, ACK]
    assert publisher.published == [[types.dispatched(request, attempt=1, now_ms=NOW_MS) for request in requests]]


async def test_what_no_sender_takes_fails_and_is_counted_and_the_others_are_dispatched(
    dispatcher: Dispatcher, publisher: Publisher
) -> None:
    fine, strange = a_request(priority="low"), a_request(channel="pigeon", priority="low")
    before = failed("pigeon"), failed("email")
    assert await dispatcher.handle(incoming(strange, fine)) == [ACK, ACK]
    end = types.failed(strange, error="no sender for this channel", reason=types.UNROUTABLE, now_ms=NOW_MS)
    assert publisher.published == [[end, types.dispatched(fine, attempt=1, now_ms=NOW_MS)]]
    assert (failed("pigeon") - before[0], failed("email") - before[1]) == (1, 0)


async def test_what_is_not_confirmed_is_not_counted(dispatcher: Dispatcher, publisher: Publisher) -> None:
    strange = a_request(channel="pigeon", priority="low")
    before = failed("pigeon")
    publisher.errors.append(Unavailable("the broker is away"))
    with pytest.raises(Unavailable):
        await dispatcher.handle(incoming(strange))
    assert failed("pigeon") == before


async def test_an_event_that_is_no_request_is_dead_lettered_in_its_place(
    dispatcher: Dispatcher, publisher: Publisher
) -> None:
    request, other = a_request(), a_dispatch()
    other.type = "x" * 100
    reason = f"the dispatcher does not know the event type {'x' * 64!r}"
    assert await dispatcher.handle(incoming(other, request)) == [DeadLetter(reason), ACK]
    assert publisher.published == [[types.dispatched(request, attempt=1, now_ms=NOW_MS)]]
