"""Every name on the broker: exchanges, queues and routing keys. Nothing else spells one out."""

from typing import Final

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import types

EVENTS_EXCHANGE: Final = "wavecom.events"
DEAD_EXCHANGE: Final = "wavecom.dead"
DISPATCHER_QUEUE: Final = "dispatcher.requested"
PROJECTOR_QUEUE: Final = "status-projector.events"

# What follows "notification." in the routing key of an event type.
_STEMS: Final = {
    types.REQUESTED: "requested",
    types.DISPATCHED: "dispatched",
    types.STARTED: "started",
    types.SENT: "sent",
    types.RETRY_SCHEDULED: "retrying",
    types.FAILED: "failed",
    types.OUTCOME_UNKNOWN: "unknown",
}


_REQUESTED_KEY: Final = f"notification.{_STEMS[types.REQUESTED]}"


def routing_key(event: Event) -> str:
    """`notification.<what>.<channel>`, with the priority behind it where queues are kept apart by priority.

    Requests are `notification.requested`, all of them: one queue takes them, and a message holds events of one key, so
    nine keys would make nine small messages of what can be one.

    Raises:
        KeyError: the event's type is not one of ours; we only publish what we know.
    """
    key = f"notification.{_STEMS[event.type]}"
    if event.type == types.REQUESTED:
        return key
    if event.type == types.DISPATCHED:
        return f"{key}.{event.channel}.{event.priority}"
    return f"{key}.{event.channel}"


def and_then(key: str) -> str | None:
    """The key under which an event is published once more, when its first message is confirmed; None: that was all.

    The broker confirms a message that reached one of two queues, and a request must reach both the event store's and
    the dispatcher's. With one queue a message, a queue or a binding that is gone is told by the broker. The event
    store first: nothing is delivered that it has not heard of.
    """
    return direct_key(DISPATCHER_QUEUE) if key == _REQUESTED_KEY else None


def sender_queue(channel: str, priority: str) -> str:
    """The queue a channel's sender reads for one priority."""
    return f"{sender_name(channel)}.{priority}"


def sender_name(channel: str) -> str:
    """The process that delivers a channel's notifications, its package and its image."""
    return f"{channel}-sender"


def direct_key(queue: str) -> str:
    """The routing key that reaches this queue and no other: for what it alone has to see again."""
    return f"queue.{queue}"


def retry_name(delay_ms: int) -> str:
    """The exchange and the queue in which the broker holds a message for `delay_ms`."""
    return f"wavecom.retry.{delay_ms // 1000}s" if delay_ms % 1000 == 0 else f"wavecom.retry.{delay_ms}ms"


def dead_queue(queue: str) -> str:
    """Where messages of `queue` go that can't be handled."""
    return f"{queue}.dead"
