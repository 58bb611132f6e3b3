"""Giving a queue other arguments without losing what is in it, over AMQP alone: `wavecom topology migrate`.

A queue's arguments cannot be changed, so the queue is made anew, and its messages wait in a second one meanwhile:

1. the service that reads it is waited for, to be stopped; until then the queue stays as it is;
2. the second one, `<queue>.migrating`, is declared as planned, bound like the first, and the first is unbound;
3. what is in the first is moved, and when it is empty and nobody reads it any more, it is deleted;
4. it is declared as planned and bound, the second one is unbound, its messages are moved back, and it is deleted.

Every step looks at what is there, so a migration that was broken off anywhere goes on when it is run again. A message
leaves a queue only once the broker confirmed it to the other one: none is lost, and some may come twice, and the system
takes that. A queue is deleted once it is sure to be empty, see `emptying`.

What waits in a retry queue starts its wait anew, twice. What is being dead-lettered into a queue that refuses it would
be lost with the queue it comes from: so all queues have to be there, and none full.
Source: https://www.rabbitmq.com/docs/quorum-queues (no conditional deletion: looks at the queue stand in for it)
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import inf
from typing import Final

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import DeliveryError, PublishError

from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Overloaded, Refused, Unroutable
from wavecom_common.kernel.ids import new_message_id
from wavecom_common.messaging.connection import broker_errors, connected
from wavecom_common.messaging.emptying import Emptying
from wavecom_common.messaging.headers import DELIVERY_COUNT_HEADER, RETURNS_HEADER
from wavecom_common.messaging.topology import (
    OBSOLETE_BINDINGS,
    SETTLE_S,
    Queue,
    Topology,
    bind,
    declare,
    message_counts,
    migrating_name,
    present_arguments,
    unbind,
)

# Longer than a broker of ours takes to send again what it is dead-lettering: up to twice ten seconds, see ADR 0007.
QUIET_S: Final = 25.0
# The same for a queue that dead-letters nothing: enough for a second look.
_BRIEFLY_QUIET_S: Final = 2.0
_LOOK_INTERVAL_S: Final = 0.5

# Of which queue, and what is done now.
OnProgress = Callable[[str, str], None]


async def migrate(
    url: str,
    topology: Topology,
    *,
    wait_s: float,
    settle_s: float = SETTLE_S,
    quiet_s: float = QUIET_S,
    on_progress: OnProgress = lambda queue, step: None,
) -> Sequence[str]:
    """Make every queue that differs from the plan anew, one after the other; returns their names.

    Args:
        url: the broker's.
        topology: the plan.
        wait_s: how long a queue's consumers are waited for, to be stopped by the operator.
        settle_s: see `topology.SETTLE_S`; also how long a message is waited for that was on its way into a queue.
        quiet_s: a queue that dead-letters is deleted when nothing was seen in it for so long, see `emptying`.
        on_progress: is called before each step.

    Raises:
        Refused: consumers still read a queue, or a queue is full. Run again; nothing is lost meanwhile.
        Unavailable: the broker cannot be reached. Run again.
    """
    migrated: list[str] = []
    async with connected(url, "wavecom topology migrate") as connection:
        with broker_errors():
            room = partial(_require_room, connection, topology)
            await room()
            for queue in topology.queues:
                one = _Migration(
                    connection,
                    queue,
                    wait_s=wait_s,
                    settle_s=settle_s,
                    quiet_s=quiet_s if "x-dead-letter-exchange" in queue.arguments else min(quiet_s, _BRIEFLY_QUIET_S),
                    require_room=room,
                    on_progress=on_progress,
                )
                if await one.run():
                    migrated.append(queue.name)
    return migrated


class _Migration:
    """Of one queue."""

    def __init__(
        self,
        connection: AbstractConnection,
        queue: Queue,
        *,
        wait_s: float,
        settle_s: float,
        quiet_s: float,
        require_room: Callable[[], Awaitable[None]],
        on_progress: OnProgress,
    ) -> None:
        self._connection = connection
        self._queue = queue
        self._second = migrating_name(queue.name)
        self._wait_s = wait_s
        self._settle_s = settle_s
        self._quiet_s = quiet_s
        self._require_room = require_room
        self._on_progress = on_progress
        self._read_since_s: float | None = None

    async def run(self) -> bool:
        """Begin, or go on from where it was broken off; False when there is nothing to do."""
        counts = await message_counts(self._connection, [self._queue.name, self._second])
        if counts[self._queue.name] is not None and await declare(self._connection, self._queue) is not None:
            await self._require_room()
            if counts[self._second] is None:
                await self._wait_until_unread()
            await self._make_room()
        elif counts[self._second] is None:
            return False
        await self._come_back()
        return True

    async def _wait_until_unread(self) -> None:
        """A queue whose service runs stays as it is, seen by everything that looks how much waits."""
        channel = await self._channel()
        look = partial(channel.declare_queue, self._queue.name, passive=True)
        while count := (await look()).declaration_result.consumer_count:
            await self._wait_for_consumers(count)

    async def _wait_for_consumers(self, count: int, more: str = "") -> None:
        now_s = asyncio.get_running_loop().time()
        self._read_since_s = self._read_since_s or now_s
        if now_s - self._read_since_s >= self._wait_s:
            raise Refused(f"{count} consumers still read {self._queue.name}: stop its service and run this again{more}")
        self._step(f"waiting for the {count} consumers to be stopped")
        await SYSTEM_CLOCK.sleep(_LOOK_INTERVAL_S)

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
        self._read_since_s = None
        await self._empty(first, f"; until then new messages wait in {self._second}")
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
        await self._empty(self._second)
        self._step("deleting the second queue")
        await channel.queue_delete(self._second)

    async def _empty(self, source: str, more: str = "") -> None:
        """Move everything in the source to the other queue, which is bound."""
        channel = await self._channel()
        await Emptying(
            channel,
            source,
            quiet_s=self._quiet_s,
            move=partial(self._publish, channel),
            wait_for_consumers=partial(self._wait_for_consumers, more=more),
            require_room=self._require_room,
        ).run()

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
    counts = await message_counts(
        connection, [name for queue in topology.queues for name in (queue.name, migrating_name(queue.name))]
    )
    for queue in topology.queues:
        name = queue.name if counts[queue.name] is not None else migrating_name(queue.name)
        count = counts[name]
        if count is None:
            raise Refused(f"queue {queue.name} is missing: run `wavecom topology apply` first")
        if count and count >= await _limit(connection, queue, name):
            raise Refused(f"queue {name} is full: what is on its way into it could not be moved; run this again later")


async def _limit(connection: AbstractConnection, queue: Queue, name: str) -> float:
    """How many messages the queue takes that is there."""
    limit = (await present_arguments(connection, queue, name)).get("x-max-length")
    return limit if isinstance(limit, int) else inf


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
