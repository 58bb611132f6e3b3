"""The exchanges and queues there are, as data, and the one command's way to declare them.

Services never declare: they only look whether what they need is there, so they need no right to configure the broker.
Source: https://www.rabbitmq.com/docs/quorum-queues
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from wavecom_common.events import routing
from wavecom_common.events.channels import CHANNELS, PRIORITIES
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.kernel.errors import Refused
from wavecom_common.messaging.connection import broker_errors, connected
from wavecom_common.telemetry.logs import get_logger

# Of every queue. Beyond it a publish is refused: the API answers 503, and a consumer keeps its message and waits.
MAX_LENGTH: Final = 1_000_000
# A consumer publishes a message anew long before (`redelivery.Limits`); this one catches what never reaches it. On
# brokers before 4.3 a restart of a consumer counts as well, so it has to be generous.
DELIVERY_LIMIT: Final = 100
# Nothing is behind a dead-letter queue: beyond this the broker throws a message away. Each look at one counts before
# 4.3, and from 4.0 on 20 are allowed unless another number is given (-1, for none, is not known before 4.0).
DEAD_DELIVERY_LIMIT: Final = 1_000_000
# So long after it was declared a new queue is bound. The broker notes a new quorum queue in a file that it writes half
# a second later (`auto_save` in ra_directory of its Raft library); killed before, it comes back with the queue empty,
# whatever that had confirmed. Seen with 3.10: 1,500 of 1,500 messages gone.
SETTLE_S: Final = 2.0

# What earlier versions bound, by queue: AMQP has no way to ask for the bindings that are there.
OBSOLETE_BINDINGS: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    # Until a request was published to each of its queues by itself; it would be dispatched twice.
    routing.DISPATCHER_QUEUE: [(routing.EVENTS_EXCHANGE, "notification.requested.#")],
}
_RETRY_PREFIX: Final = routing.retry_name(0).removesuffix("0s")
# As RabbitMQ says it: inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received none but current is the
# value '5' of type 'signedint'.
_INEQUIVALENT: Final = re.compile(
    r"inequivalent arg '(?P<name>[^']+)' for .*: received (?:the value )?(?P<wanted>none|'[^']*').*?"
    r" but current is (?:the value )?(?P<current>none|'[^']*')"
)
# More arguments than a queue has.
_MAX_DIFFERENCES: Final = 20

_log = get_logger()


@dataclass(frozen=True)
class Queue:
    """A durable quorum queue: its arguments, and the (exchange, routing key) pairs bound to it."""

    name: str
    arguments: Mapping[str, str | int]
    bindings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Topology:
    """Durable exchanges by name with their type, and the queues in the order in which they are bound."""

    exchanges: Mapping[str, ExchangeType]
    queues: Sequence[Queue] = field(default_factory=list)

    @property
    def topics(self) -> frozenset[str]:
        """The exchanges on which the broker knows rights by routing key."""
        return frozenset(name for name, kind in self.exchanges.items() if kind is ExchangeType.TOPIC)


def plan(retry_delays_ms: Sequence[int]) -> Topology:
    """Everything on the broker, for the given waits before a retry.

    The queues are in the order in which they can be bound: what a reader publishes has a place to go to, and the event
    store hears of a notification before anybody works on it.
    """
    work = [_work_queue(routing.PROJECTOR_QUEUE, "notification.#")]
    for channel in CHANNELS:
        for priority in PRIORITIES:
            queue = routing.sender_queue(channel, priority)
            work.append(_work_queue(queue, f"notification.dispatched.{channel}.{priority}"))
    # A request is published for it once more: see `routing.and_then`.
    work.append(_work_queue(routing.DISPATCHER_QUEUE))
    dead = [_dead_queue(queue.name) for queue in work]
    retry = [_retry_queue(delay_ms) for delay_ms in retry_delays_ms]
    exchanges = {routing.EVENTS_EXCHANGE: ExchangeType.TOPIC, routing.DEAD_EXCHANGE: ExchangeType.DIRECT}
    # The broker checks under which keys a user publishes on topic exchanges only.
    exchanges |= {queue.name: ExchangeType.TOPIC for queue in retry}
    return Topology(exchanges, [*dead, *retry, *work])


@lru_cache(maxsize=1000)
def queues_reached(exchange: str, routing_key: str) -> tuple[str, ...]:
    """The queues of ours into which a message goes."""
    if exchange.startswith(_RETRY_PREFIX):
        return (exchange,)
    return tuple(
        queue.name
        for queue in plan([]).queues
        if any(source == exchange and matches(pattern, routing_key) for source, pattern in queue.bindings)
    )


def matches(pattern: str, routing_key: str) -> bool:
    """Whether a binding's pattern takes the key.

    Ours have no wildcard, or end in "#", which stands for any number of words, none included.
    """
    return pattern == routing_key or (pattern.endswith("#") and f"{routing_key}.".startswith(pattern.removesuffix("#")))


async def apply(url: str, topology: Topology, *, settle_s: float = SETTLE_S) -> None:
    """Declare everything and unbind what is obsolete; queues that are there stay as they are. Safe to repeat.

    Nothing is routed to a new queue for `settle_s` after its declaration: until then it would not outlive the broker.

    Raises:
        Refused: something of that name is there with other arguments, or a migration was broken off: its text names
            them and the command that helps. Everything else is declared and bound.
        Unavailable: the broker cannot be reached.
    """
    async with connected(url, "wavecom topology apply") as connection:
        with broker_errors():
            names = [queue.name for queue in topology.queues]
            counts = await message_counts(connection, [*names, *map(migrating_name, names)])
            there = [name for name, count in counts.items() if count is not None]
            wrong = await _declare_exchanges(connection, topology, there)
            sound: list[Queue] = []
            for queue in topology.queues:
                if counts[migrating_name(queue.name)] is not None:
                    wrong.append(f"the migration of queue {queue.name} was broken off")
                elif (difference := await declare(connection, queue)) is not None:
                    wrong.append(difference)
                else:
                    sound.append(queue)
            if any(counts[queue.name] is None for queue in sound):
                await SYSTEM_CLOCK.sleep(settle_s)
            channel = await connection.channel()
            for queue in sound:
                await bind(channel, queue.name, queue.bindings)
                await unbind(channel, queue.name, OBSOLETE_BINDINGS.get(queue.name, ()))
    if wrong:
        raise Refused(f"{'; '.join(wrong)}: run `wavecom topology migrate`")


async def declare(connection: AbstractConnection, queue: Queue, *, name: str | None = None) -> str | None:
    """Declare a queue, under another name if one is given; how the one that is there differs, else None.

    The broker names the first argument that differs.
    """
    name = name or queue.name
    answer = await _declare(connection, name, queue.arguments)
    return None if answer is None else f"queue {name} {_difference(answer)}"


async def present_arguments(connection: AbstractConnection, queue: Queue, name: str) -> Mapping[str, str | int]:
    """The arguments of a queue that is there under this name, as far as the broker names them; else those planned."""
    arguments = dict(queue.arguments)
    for _ in range(_MAX_DIFFERENCES):
        answer = await _declare(connection, name, arguments)
        differs = _INEQUIVALENT.search(answer) if answer is not None else None
        if differs is None:
            break
        current = differs["current"].strip("'")
        arguments.pop(differs["name"], None)
        if differs["current"] != "none":
            arguments[differs["name"]] = int(current) if current.isdigit() else current
    return arguments


async def _declare(connection: AbstractConnection, name: str, arguments: Mapping[str, str | int]) -> str | None:
    """What the broker answers where the queue is there and differs."""
    channel = await connection.channel()
    try:
        await channel.declare_queue(name, durable=True, arguments=dict(arguments))
    except ChannelPreconditionFailed as error:
        return str(error)
    await channel.close()
    return None


async def bind(channel: AbstractChannel, queue: str, bindings: Sequence[tuple[str, str]]) -> None:
    """Bind a queue; a binding that is there stays."""
    target = await channel.get_queue(queue, ensure=False)
    for exchange, routing_key in bindings:
        await target.bind(exchange, routing_key)


async def unbind(channel: AbstractChannel, queue: str, bindings: Sequence[tuple[str, str]]) -> None:
    """Take bindings from a queue; fine where they are not there."""
    target = await channel.get_queue(queue, ensure=False)
    for exchange, routing_key in bindings:
        await target.unbind(exchange, routing_key)


def migrating_name(queue: str) -> str:
    """The queue in which a migration keeps what belongs into another one: see `migration`."""
    return f"{queue}.migrating"


async def _declare_exchanges(connection: AbstractConnection, topology: Topology, there: Collection[str]) -> list[str]:
    """Declare them; how those that are there differ and cannot be replaced. `there` are the queues that are there."""
    wrong: list[str] = []
    channel = await connection.channel()
    for name, kind in topology.exchanges.items():
        try:
            await channel.declare_exchange(name, kind, durable=True)
        except ChannelPreconditionFailed as error:
            # A channel ends with such an answer.
            channel = await connection.channel()
            if name.startswith(_RETRY_PREFIX):
                await _replace(channel, topology, name, there)
            else:
                wrong.append(f"exchange {name} {_difference(str(error))}; only deleting it by hand helps")
    await channel.close()
    return wrong


async def _replace(channel: AbstractChannel, topology: Topology, name: str, there: Collection[str]) -> None:
    """Give a retry exchange its type: earlier versions declared a fanout exchange of that name.

    What waits stays in its queue, and is dead-lettered to another exchange. Until the queue is bound again, publishers
    are answered with 404 or get their messages back, and publish them again. Broken off, `apply` goes on from there.
    """
    bound = [(queue.name, key) for queue in topology.queues for source, key in queue.bindings if source == name]
    await channel.exchange_delete(name)
    await channel.declare_exchange(name, topology.exchanges[name], durable=True)
    for queue, key in bound:
        # In a migration that was broken off the messages of one may go to the other: rather to both than to none.
        for one in (queue, migrating_name(queue)):
            if one in there:
                await bind(channel, one, [(name, key)])
    _log.info("exchange_replaced", exchange=name, type=topology.exchanges[name].value)


def _difference(answer: str) -> str:
    """What the broker says of an argument that differs, in our words: of one that is not set it says "none"."""
    found = _INEQUIVALENT.search(answer)
    if found is None:
        return f"is there with other properties ({answer[:200]})"
    name, wanted, current = found["name"], found["wanted"], found["current"]
    return f"has {name} {current.strip(chr(39))} on the broker, and {wanted.strip(chr(39))} is wanted"


async def message_counts(connection: AbstractConnection, queues: Sequence[str]) -> dict[str, int | None]:
    """How many messages are ready in each queue; None where there is no such queue."""
    counts: dict[str, int | None] = {}
    channel = await connection.channel()
    for name in queues:
        try:
            queue = await channel.declare_queue(name, passive=True)
            counts[name] = queue.declaration_result.message_count
        except ChannelNotFoundEntity:
            # The broker closes the channel on which a queue is asked for that is not there.
            channel = await connection.channel()
            counts[name] = None
    await channel.close()
    return counts


def _work_queue(name: str, *routing_keys: str) -> Queue:
    arguments = {
        **_QUORUM,
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": routing.DEAD_EXCHANGE,
        "x-dead-letter-routing-key": name,
    }
    keys = [*routing_keys, routing.direct_key(name)]
    return Queue(name, arguments, tuple((routing.EVENTS_EXCHANGE, key) for key in keys))


def _retry_queue(delay_ms: int) -> Queue:
    name = routing.retry_name(delay_ms)
    # No dead-letter routing key: the message goes back under the one it came with.
    arguments = {**_QUORUM, "x-message-ttl": delay_ms, "x-dead-letter-exchange": routing.EVENTS_EXCHANGE}
    return Queue(name, arguments, ((name, "#"),))


def _dead_queue(queue: str) -> Queue:
    arguments: dict[str, str | int] = {
        "x-queue-type": "quorum",
        "x-max-length": MAX_LENGTH,
        "x-overflow": "reject-publish",
        "x-delivery-limit": DEAD_DELIVERY_LIMIT,
    }
    return Queue(routing.dead_queue(queue), arguments, ((routing.DEAD_EXCHANGE, queue),))


# At-least-once dead-lettering needs reject-publish: with the default overflow it silently becomes at-most-once.
_QUORUM: Final[Mapping[str, str | int]] = {
    "x-queue-type": "quorum",
    "x-max-length": MAX_LENGTH,
    "x-overflow": "reject-publish",
    "x-dead-letter-strategy": "at-least-once",
}
