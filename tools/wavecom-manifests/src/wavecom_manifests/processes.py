"""What the code says of each process: its settings, and what it needs on the broker and in the database.

The one place where the checks learn it. Names come from the code; that a process really reads, asks for and uses what
stands here is shown by tests that build every process and run it with no more rights than these.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from dispatcher.settings import DispatcherSettings
from ingest_api.settings import IngestSettings
from status_projector.settings import ProjectorSettings, QuerySettings
from wavecom_common.channels.declaration import Channel
from wavecom_common.channels.registry import declared
from wavecom_common.events import routing, types
from wavecom_common.events.channels import CHANNELS, PRIORITIES
from wavecom_common.hosting.sender import settings_of as sender_settings_of
from wavecom_common.hosting.settings import LOOK_AGAIN_MS, Settings
from wavecom_common.messaging import dead_letters
from wavecom_common.messaging.topology import migrating_name
from wavecom_common.storage import names
from wavecom_proto.v1.events_pb2 import Event

_READ: Final = frozenset({"find"})
_APPEND: Final = frozenset({"find", "insert"})
_WRITE: Final = frozenset({"find", "insert", "update"})
_REMOVE: Final = frozenset({"remove"})
_LOOK_AGAIN: Final = routing.retry_name(LOOK_AGAIN_MS)
_ALL_SENDER_QUEUES: Final = tuple(
    routing.sender_queue(channel, priority) for channel in CHANNELS for priority in PRIORITIES
)
_WORK_QUEUES: Final = (routing.DISPATCHER_QUEUE, routing.PROJECTOR_QUEUE, *_ALL_SENDER_QUEUES)


# One that this version does not know: what a later one accepts ends here as failed.
_LATER: Final = "later"


def keys(event_types: Iterable[str], channels: Iterable[str] = CHANNELS) -> frozenset[str]:
    """The routing keys of events of these types."""
    return frozenset(
        routing.routing_key(Event(type=event_type, channel=channel, priority=priority))
        for event_type in event_types
        for channel in channels
        for priority in PRIORITIES
    )


def direct_keys(*queues: str) -> frozenset[str]:
    """The routing keys that reach one of these queues alone."""
    return frozenset(map(routing.direct_key, queues))


# Every routing key that may come up.
ALL_KEYS: Final = keys(types.EVENT_TYPES, [*CHANNELS, _LATER]) | direct_keys(
    routing.DISPATCHER_QUEUE, routing.PROJECTOR_QUEUE, *_ALL_SENDER_QUEUES
)
_ENDS: Final = keys([types.FAILED, types.OUTCOME_UNKNOWN])


@dataclass(frozen=True, kw_only=True)
class Process:
    """One kind of process.

    Attributes:
        settings: its settings' type.
        reads: the queues it consumes.
        asks_for: the queues whose existence it looks at beside those it reads.
        publishes_to: the exchanges it publishes to.
        publishes_as: the routing keys under which it publishes to the exchange of events.
        uses_every_delay: whether it publishes to, and asks for, the exchange and queue of every delay.
        delays_as: the routing keys under which it publishes to the exchanges of delays.
        collections: what it does in the database, by collection.
    """

    settings: type[Settings]
    reads: Sequence[str] = ()
    asks_for: Sequence[str] = ()
    publishes_to: Sequence[str] = ()
    publishes_as: frozenset[str] = frozenset()
    uses_every_delay: bool = False
    delays_as: frozenset[str] = frozenset()
    collections: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def uses_broker(self) -> bool:
        """Whether it talks to RabbitMQ at all."""
        return bool(self.reads or self.publishes_to)

    def keys_for(self, exchange: str) -> frozenset[str]:
        """The routing keys under which it publishes to an exchange of events or of a delay."""
        return self.publishes_as if exchange == routing.EVENTS_EXCHANGE else self.delays_as


def _sender(channel: Channel) -> Process:
    queues = [routing.sender_queue(channel.name, priority) for priority in PRIORITIES]
    return Process(
        settings=sender_settings_of(channel),
        reads=queues,
        asks_for=[routing.PROJECTOR_QUEUE],
        publishes_to=[routing.EVENTS_EXCHANGE, routing.DEAD_EXCHANGE],
        # What happened to its own channel's notifications.
        publishes_as=keys(
            [types.STARTED, types.SENT, types.RETRY_SCHEDULED, types.FAILED, types.OUTCOME_UNKNOWN], [channel.name]
        ),
        uses_every_delay=True,
        # The next attempt, and what its queues shall give out once more.
        delays_as=keys([types.DISPATCHED], [channel.name]) | direct_keys(*queues),
        collections={names.DELIVERIES: _WRITE, names.PAYLOADS: _READ, names.HELD_WORK: _WRITE},
    )


# By the name of the Deployment, which is the process's own.
PROCESSES: Final[Mapping[str, Process]] = {
    "ingest-api": Process(
        settings=IngestSettings,
        # All of them, to know how much waits, and where it does while a queue is made anew.
        asks_for=[*_WORK_QUEUES, *map(migrating_name, _WORK_QUEUES)],
        publishes_to=[routing.EVENTS_EXCHANGE],
        # The end of what it refused after all, too.
        publishes_as=keys([types.REQUESTED, types.FAILED]) | direct_keys(routing.DISPATCHER_QUEUE),
        collections={
            names.IDEMPOTENCY_KEYS: _WRITE,
            names.PAYLOADS: frozenset({"insert", "update"}),
            # It claims what it refuses, so that no sender does.
            names.DELIVERIES: _APPEND,
        },
    ),
    "dispatcher": Process(
        settings=DispatcherSettings,
        reads=[routing.DISPATCHER_QUEUE],
        asks_for=[routing.PROJECTOR_QUEUE, _LOOK_AGAIN, *_ALL_SENDER_QUEUES],
        publishes_to=[routing.EVENTS_EXCHANGE, routing.DEAD_EXCHANGE, _LOOK_AGAIN],
        publishes_as=keys([types.DISPATCHED]) | keys([types.FAILED], [*CHANNELS, _LATER]),
        delays_as=direct_keys(routing.DISPATCHER_QUEUE),
    ),
    **{routing.sender_name(name): _sender(channel) for name, channel in declared().items()},
    "status-projector": Process(
        settings=ProjectorSettings,
        reads=[routing.PROJECTOR_QUEUE],
        # The sweeper looks whether a queue has a backlog, and sends into those that have none what stands still. And a
        # metric says how much lies in the dead-letter queues.
        asks_for=[
            routing.DISPATCHER_QUEUE,
            *_ALL_SENDER_QUEUES,
            *map(migrating_name, _WORK_QUEUES),
            *map(routing.dead_queue, dead_letters.queues()),
        ],
        publishes_to=[routing.EVENTS_EXCHANGE, routing.DEAD_EXCHANGE],
        publishes_as=_ENDS | direct_keys(routing.DISPATCHER_QUEUE, *_ALL_SENDER_QUEUES),
        uses_every_delay=True,
        # What it sends again that is not due yet, and what its own queue shall give out once more.
        delays_as=direct_keys(routing.DISPATCHER_QUEUE, routing.PROJECTOR_QUEUE, *_ALL_SENDER_QUEUES),
        collections={
            # Retention removes what is old; nothing changes an event.
            names.EVENTS: _APPEND | _REMOVE,
            names.PAYLOADS: _READ | _REMOVE,
            names.RETENTION: _WRITE,
            names.SWEEPS: _WRITE,
            names.HELD_WORK: _WRITE,
            names.POINTER: _READ,
            # Whichever of them is the read model now: a rebuild moves it while this runs.
            **dict.fromkeys(names.READ_MODELS, _WRITE | _REMOVE),
        },
    ),
    "status-query": Process(
        settings=QuerySettings,
        collections={
            names.EVENTS: _READ,
            names.POINTER: _READ,
            names.PAYLOADS: _READ,
            **dict.fromkeys(names.READ_MODELS, _READ),
        },
    ),
}

# What the broker's users publish that are no process: a person sends dead letters back and what a broker lost, the job
# moves what is in a queue that it makes anew.
OTHERS: Final[Mapping[str, Process]] = {
    "operator": Process(
        settings=Settings,
        publishes_to=[routing.EVENTS_EXCHANGE, routing.DEAD_EXCHANGE],
        publishes_as=_ENDS | direct_keys(*dead_letters.queues()),
        uses_every_delay=True,
        delays_as=direct_keys(routing.DISPATCHER_QUEUE, *_ALL_SENDER_QUEUES),
    ),
    "topology": Process(
        settings=Settings,
        publishes_to=[routing.EVENTS_EXCHANGE, routing.DEAD_EXCHANGE],
        publishes_as=direct_keys(*dead_letters.queues()),
        uses_every_delay=True,
        delays_as=keys([types.DISPATCHED]) | direct_keys(*dead_letters.queues()),
    ),
}

# One-off commands: the settings they read. What they may do is stated by the checks of their rights.
COMMANDS: Final[Mapping[str, type[Settings]]] = {"topology": Settings, "schema": Settings}


def settings_of(name: str) -> type[Settings] | None:
    """The settings' type of a process or a command; None for what is not ours."""
    process = PROCESSES.get(name)
    return process.settings if process else COMMANDS.get(name)
