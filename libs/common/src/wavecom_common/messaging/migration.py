"""Giving a queue other arguments without losing what is in it, over AMQP alone: `wavecom topology migrate`.

A queue's arguments cannot be changed, so the queue is made anew, and its messages wait in a second one meanwhile:

1. the second one, `<queue>.migrating`, is declared as planned, bound like the first, and the first is unbound;
2. what is in the first is moved, and when it is empty and nobody reads it any more, it is deleted;
3. it is declared as planned and bound, the second one is unbound, its messages are moved back, and it is deleted.

Every step looks at what is there, so a migration that was broken off anywhere goes on when it is run again. A message
leaves a queue only once the broker confirmed it to the other one: none is lost, and some may come twice, and the system
takes that. A queue is not deleted while it has consumers: what they hold would be gone with it.

What waits in a retry queue starts its wait anew, twice. Not counted by the broker, and lost with the first queue, would
be a message that is being dead-lettered into a queue which refuses it: so all queues have to be there, and none full.
Source: https://www.rabbitmq.com/docs/quorum-queues (no conditional deletion: a look at the queue stands in for it)
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import DeliveryError, PublishError

from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Overloaded, Refused, Unroutable
from wavecom_common.kernel.ids import new_message_id
from wavecom_common.messaging.connection import broker_errors, connected
from wavecom_common.messaging.headers import DELIVERY_COUNT_HEADER, RETURNS_HEADER
from wavecom_common.messaging.topology import (
    MAX_LENGTH,
    OBSOLETE_BINDINGS,
    SETTLE_S,
    Queue,
    Topology,
    bind,
    declare,
    message_counts,
    migrating_name,
    unbind,
)

# Moved together: taken, published side by side, and acknowledged when all are confirmed.
_AT_ONCE: Final = 100
_CONFIRM_TIMEOUT_S: Final = 30.0
_LOOK_INTERVAL_S: Final = 0.5

# Of which queue, and what is done now.
OnProgress = Callable[[str, str], None]


async def migrate(
    url: str,
    topology: Topology,
    *,
    wait_s: float,
    settle_s: float = SETTLE_S,
    on_progress: OnProgress = lambda queue, step: None,
) -> Sequence[str]:
    """Make every queue that differs from the plan anew, one after the other; returns their names.

    Args:
        url: the broker's.
        topology: the plan.
        wait_s: how long a queue's consumers are waited for, to be stopped by the operator.
        settle_s: see `topology.SETTLE_S`; also how long a message is waited for that was on its way into a queue.
        on_progress: is called before each step.

    Raises:
        Refused: consumers still read a queue, or a queue is full. Run again; nothing is lost meanwhile.
        Unavailable: the broker cannot be reached. Run again.
    """
    migrated: list[str] = []
    async with connected(url, "wavecom topology migrate") as connection:
        with broker_errors():
            await _require_room(connection, topology)
            for queue in topology.queues:
                one = _Migration(connection, queue, wait_s=wait_s, settle_s=settle_s, on_progress=on_progress)
                if await one.run():
                    migrated.append(queue.name)
    return migrated


class _Migration:
    """Of one queue."""

    def __init__(
        self, connection: AbstractConnection, queue: Queue, *, wait_s: float, settle_s: float, on_progress: OnProgress
    ) -> None:
        self._connection = connection
        self._queue = queue
        self._second = migrating_name(queue.name)
        self._wait_s = wait_s
        self._settle_s = settle_s
        self._on_progress = on_progress

    async def run(self) -> bool:
        """Begin, or go on from where it was broken off; False when there is nothing to do."""
        counts = await message_counts(self._connection, [self._queue.name, self._second])
        if counts[self._queue.name] is not None and await declare(self._connection, self._queue) is not None:
            await self._make_room()
        elif counts[self._second] is None:
            return False
        await self._come_back()
        return True

    async def _make_room(self) -> None:
        """Move everything into the second queue, and delete the first."""
        first = self._queue.name
        self._step(f"declaring {self._second}")
        if (difference := await declare(self._connection, self._queue, name=self._second)) is not None:
            raise Refused(f"{difference}: an earlier migration had another plan; finish that one with its version")
        await SYSTEM_CLOCK.sleep(self._settle_s)
        channel = await self._channel()
        self._step("binding the second queue")
        await bind(channel, self._second, self._queue.bindings)
        self._step("unbinding the first queue")
        await unbind(channel, first, [*self._queue.bindings, *OBSOLETE_BINDINGS.get(first, ())])
        # What was routed before the unbinding is here by then.
        await SYSTEM_CLOCK.sleep(self._settle_s)
        self._step("moving messages into the second queue")
        await self._move_until_unused(channel)
        self._step("deleting the first queue")
        await channel.queue_delete(first)

    async def _come_back(self) -> None:
        """Make the queue as planned, and move everything back into it."""
        self._step("declaring the queue as planned")
        await declare(self._connection, self._queue)
        await SYSTEM_CLOCK.sleep(self._settle_s)
        channel = await self._channel()
        self._step("binding the queue")
        await bind(channel, self._queue.name, self._queue.bindings)
        self._step("unbinding the second queue")
        await unbind(channel, self._second, self._queue.bindings)
        await SYSTEM_CLOCK.sleep(self._settle_s)
        self._step("moving messages back")
        await self._move(channel, self._second)
        self._step("deleting the second queue")
        await channel.queue_delete(self._second)

    async def _move_until_unused(self, channel: AbstractChannel) -> None:
        """Until nobody reads the first queue and nothing is in it: what a consumer held comes back when it ends."""
        deadline_s = asyncio.get_running_loop().time() + self._wait_s
        while True:
            await self._move(channel, self._queue.name)
            found = (await channel.declare_queue(self._queue.name, passive=True)).declaration_result
            if not found.message_count and not found.consumer_count:
                return
            if found.consumer_count and asyncio.get_running_loop().time() >= deadline_s:
                raise Refused(
                    f"{found.consumer_count} consumers still read {self._queue.name}: stop its service and run this "
                    f"again; until then new messages wait in {self._second}"
                )
            if found.consumer_count:
                self._step(f"waiting for the {found.consumer_count} consumers to be stopped")
                await SYSTEM_CLOCK.sleep(_LOOK_INTERVAL_S)

    async def _move(self, channel: AbstractChannel, source: str) -> None:
        """Everything that is ready in the source, to whichever of the two queues is bound."""
        queue = await channel.get_queue(source, ensure=False)
        while batch := await _take(queue.get, _AT_ONCE):
            async with asyncio.timeout(_CONFIRM_TIMEOUT_S):
                await asyncio.gather(*[self._publish(channel, message) for message in batch])
            await batch[-1].ack(multiple=True)

    async def _publish(self, channel: AbstractChannel, message: AbstractIncomingMessage) -> None:
        exchange_name, key = self._queue.bindings[-1]
        exchange = await channel.get_exchange(exchange_name, ensure=False)
        try:
            # A retry queue takes every key, and passes messages on under their own.
            own = (message.routing_key or "") if key == "#" else key
            await exchange.publish(_again(message), own, mandatory=True)
        except PublishError as error:
            raise Unroutable(
                f"no queue is bound to {exchange_name} for {key}: run `wavecom topology migrate`"
            ) from error
        except DeliveryError as error:
            raise Overloaded(f"the queue in place of {self._queue.name} is full") from error

    async def _channel(self) -> AbstractChannel:
        return await self._connection.channel(publisher_confirms=True, on_return_raises=True)

    def _step(self, step: str) -> None:
        self._on_progress(self._queue.name, step)


async def _require_room(connection: AbstractConnection, topology: Topology) -> None:
    names = [queue.name for queue in topology.queues]
    counts = await message_counts(connection, [*names, *map(migrating_name, names)])
    for name in names:
        count = counts[name] if counts[name] is not None else counts[migrating_name(name)]
        if count is None:
            raise Refused(f"queue {name} is missing: run `wavecom topology apply` first")
        if count >= MAX_LENGTH:
            raise Refused(f"queue {name} is full: what is on its way into it could not be moved; run this again later")


async def _take(get: Callable[..., object], count: int) -> list[AbstractIncomingMessage]:
    batch: list[AbstractIncomingMessage] = []
    while len(batch) < count:
        message = await get(fail=False, no_ack=False)  # type: ignore[misc]
        if message is None:
            break
        batch.append(message)
    return batch


def _again(message: AbstractIncomingMessage) -> Message:
    """The same message; what the broker counted of its returns is told in a header of ours, see `settlement`.

    Under an id of its own: the client library matches returned messages by it, and a copy of this one may be under way.
    """
    headers = dict(message.headers)
    counted = headers.pop(DELIVERY_COUNT_HEADER, 0)
    if isinstance(counted, int) and counted:
        before = headers.get(RETURNS_HEADER, 0)
        headers[RETURNS_HEADER] = counted + (before if isinstance(before, int) else 0)
    return Message(
        message.body,
        headers=headers,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        message_id=new_message_id(),
        delivery_mode=DeliveryMode.PERSISTENT,
        timestamp=message.timestamp,
        type=message.type,
        app_id=message.app_id,
    )
