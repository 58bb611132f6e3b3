"""An event of a type that only a newer version knows, where work is done: put aside, and its notification goes on."""

import pytest
from wavecom_common.events import routing, types
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.messaging.headers import REASON_HEADER
from wavecom_common.testing.broker import decoded, messages, publishing
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event

from tests.fault.stage import Stage, process, taken

SENDER_QUEUE = routing.sender_queue("sms", "medium")
SENDER = ("-m", "sms_sender")


def opened(known: Event) -> Event:
    """What a newer version tells of the same notification and attempt."""
    event = Event()
    event.CopyFrom(known)
    event.type, event.event_id = "NotificationOpened", f"{known.notification_id}:1:NotificationOpened"
    return event


async def hand(stage: Stage, queue: str, *events: Event) -> None:
    """Put one message into that queue and no other."""
    async with publishing(stage.broker_url) as publisher:
        await publisher.publish_message(routing.EVENTS_EXCHANGE, routing.direct_key(queue), publisher.message(events))


async def put_aside(stage: Stage, queue: str) -> dict[str, str]:
    """The reasons by event id in the queue's dead-letter queue, taken out of it."""
    dead = await messages(stage.broker_url, routing.dead_queue(queue))
    return {event.event_id: str(message.headers[REASON_HEADER]) for message in dead for event in decoded(message)}


async def until_told(stage: Stage, kind: str) -> list[str]:
    """The types of all that was told until there was one of that type."""
    told: list[str] = []

    async def is_told() -> bool:
        told.extend(event.type for event in await taken(stage))
        return kind in told

    await eventually(is_told, timeout_s=30, what=kind)
    return told


async def test_the_dispatcher_puts_it_aside_and_dispatches_the_request_beside_it(stage: Stage) -> None:
    request = a_request(channel="sms", now_ms=SYSTEM_CLOCK.now_ms())
    stranger = opened(request)
    await hand(stage, routing.DISPATCHER_QUEUE, stranger, request)
    async with process(stage, "-m", "dispatcher"):
        reasons = await eventually(lambda: put_aside(stage, routing.DISPATCHER_QUEUE), timeout_s=30)
        told = await until_told(stage, types.DISPATCHED)
    assert reasons == {stranger.event_id: "the dispatcher does not know the event type 'NotificationOpened'"}
    assert told == [types.DISPATCHED]


async def test_a_sender_puts_it_aside_and_delivers_what_comes_before_and_after_it(stage: Stage) -> None:
    first, second = (a_dispatch(request=a_request(channel="sms"), now_ms=SYSTEM_CLOCK.now_ms()) for _ in range(2))
    async with process(stage, *SENDER, WAVECOM_SIMULATED_SUCCESS_RATE="1"):
        await hand(stage, SENDER_QUEUE, first)
        told = await until_told(stage, types.SENT)
        await hand(stage, SENDER_QUEUE, opened(first), opened(second))
        reasons = dict[str, str]()

        async def both() -> bool:
            reasons.update(await put_aside(stage, SENDER_QUEUE))
            return len(reasons) == 2

        await eventually(both, timeout_s=30)
        await hand(stage, SENDER_QUEUE, second)
        told += await until_told(stage, types.SENT)
    reason = "a sender does not know the event type 'NotificationOpened'"
    assert reasons == {opened(first).event_id: reason, opened(second).event_id: reason}
    assert sorted(told) == sorted([types.STARTED, types.SENT] * 2)
    assert sorted(stage.calls) == sorted([first.dedup_key, second.dedup_key])


@pytest.mark.parametrize("order", [1, -1], ids=["before it", "behind it"])
async def test_a_sender_puts_it_aside_and_makes_the_very_attempt_it_is_about(stage: Stage, order: int) -> None:
    dispatch = a_dispatch(request=a_request(channel="sms"), now_ms=SYSTEM_CLOCK.now_ms())
    stranger = opened(dispatch)
    await hand(stage, SENDER_QUEUE, *[stranger, dispatch][::order])
    async with process(stage, *SENDER, WAVECOM_SIMULATED_SUCCESS_RATE="1"):
        reasons = await eventually(lambda: put_aside(stage, SENDER_QUEUE), timeout_s=30)
        told = await until_told(stage, types.SENT)
    assert list(reasons) == [stranger.event_id]
    assert sorted(told) == sorted([types.STARTED, types.SENT])
    assert stage.calls == [dispatch.dedup_key]
