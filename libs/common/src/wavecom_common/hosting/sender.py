"""Everything a sender's process does, but its adapter: a service of a channel is one call of `run_sender`."""

from collections.abc import Callable, Sequence
from pkgutil import resolve_name
from typing import TypeVar, cast

from pydantic import Field

from wavecom_common.channels.declaration import Channel
from wavecom_common.delivery.ledger import LEASE_S, Ledger
from wavecom_common.delivery.loop import DeliveryLoop
from wavecom_common.delivery.port import Adapter, ConnectedAdapter
from wavecom_common.delivery.simulated import Simulation
from wavecom_common.events import routing
from wavecom_common.events.channels import PRIORITIES
from wavecom_common.hosting.database import database_of
from wavecom_common.hosting.held_reports import HeldReports
from wavecom_common.hosting.service import main
from wavecom_common.hosting.settings import LOOK_AGAIN_MS, Settings
from wavecom_common.kernel.component import Component
from wavecom_common.kernel.ids import new_owner
from wavecom_common.messaging.consumer import Consumer
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.storage.held_work import HeldWork
from wavecom_common.storage.payloads import Payloads


class SenderSettings(Settings):
    """What every sender has; a channel adds its own and sets the simulation's defaults."""

    # Provider calls under way at once.
    max_in_flight: int = Field(default=256, ge=1, le=10_000)
    # Messages held of each priority's queue; each has up to `batch_max_events` deliveries.
    prefetch: int = Field(default=128, ge=1, le=2000)
    # Longer than the provider needs to answer: a call cut short has an unknown outcome.
    provider_timeout_s: float = Field(default=30.0, gt=0, le=600)
    # Longer than that, so that a call under way can end.
    drain_timeout_s: float = Field(default=35.0, ge=0)
    # How soon the attempts of a sender that died are taken over. A living one renews its leases in time.
    lease_s: float = Field(default=LEASE_S, ge=0.5, le=600)

    simulated_success_rate: float = Field(default=1.0, ge=0, le=1)
    simulated_min_delay_ms: int = Field(default=0, ge=0)
    simulated_max_delay_ms: int = Field(default=0, ge=0)
    simulated_seed: int | None = None
    simulated_calls_file: str | None = None
    # Attempts it takes in one call.
    simulated_max_batch: int = Field(default=1, ge=1, le=1_000)

    @property
    def simulation(self) -> Simulation:
        """The simulated provider's behaviour."""
        return Simulation(
            success_rate=self.simulated_success_rate,
            min_delay_ms=self.simulated_min_delay_ms,
            max_delay_ms=max(self.simulated_min_delay_ms, self.simulated_max_delay_ms),
            seed=self.simulated_seed,
            calls_file=self.simulated_calls_file,
            max_batch=self.simulated_max_batch,
        )


def settings_of(channel: Channel) -> type[SenderSettings]:
    """The type of the settings of a channel's sender.

    Raises:
        ImportError, AttributeError: its declaration names none.
    """
    found = resolve_name(channel.settings)
    assert issubclass(found, SenderSettings), channel.settings
    return cast(type[SenderSettings], found)


AnyAdapter = Adapter | ConnectedAdapter
AnySenderSettings = TypeVar("AnySenderSettings", bound=SenderSettings)


class _ClosesAdapter(Component):
    """Closes the adapter when everything that might use it has ended.

    It is always ready: a provider that is away is no reason to stop a rollout, or to start a process again. A metric
    and an alert are about it.
    """

    def __init__(self, adapter: AnyAdapter, loop: DeliveryLoop) -> None:
        self._adapter = adapter
        self._loop = loop

    async def close(self) -> None:
        self._loop.close()
        await self._adapter.close()


def run_sender(
    channel: Channel,
    settings_type: type[AnySenderSettings],
    build_adapter: Callable[[AnySenderSettings], AnyAdapter],
) -> None:
    """Run the channel's sender until it is told to stop."""

    def build(settings: AnySenderSettings) -> Sequence[Component]:
        return sender_components(channel.name, settings, build_adapter(settings))

    main(routing.sender_name(channel.name), settings_type, build)


def sender_components(channel: str, settings: SenderSettings, adapter: AnyAdapter) -> Sequence[Component]:
    """The components of a sender: publisher, database, ledger and consumer around the delivery loop."""
    name = routing.sender_name(channel)
    url = settings.broker_url
    publisher = EventPublisher(
        url,
        name=name,
        required_queues=[routing.PROJECTOR_QUEUE, *map(routing.retry_name, settings.broker_delays_ms)],
        linger_s=settings.batch_linger_ms / 1000,
        # Nobody waits for what it publishes: the call was made.
        eager=False,
        max_events=settings.batch_max_events,
    )
    database = database_of(settings)
    ledger = Ledger(database, owner=new_owner(name), lease_s=settings.lease_s)
    loop = DeliveryLoop(
        adapter,
        ledger,
        Payloads(database),
        publisher,
        max_in_flight=settings.max_in_flight,
        provider_timeout_s=settings.provider_timeout_s,
        retry_delays_ms=settings.retry_delays_ms,
        look_again_ms=LOOK_AGAIN_MS,
    )
    consumer = Consumer(
        url,
        name=name,
        queues=[routing.sender_queue(channel, priority) for priority in PRIORITIES],
        prefetch=_prefetch(settings, adapter),
        handler=loop.handle,
        give_up=loop.give_up,
        publisher=publisher,
        retry_delay_ms=LOOK_AGAIN_MS,
    )
    reports = HeldReports(consumer.held_messages, HeldWork(database), owner=ledger.owner)
    return [_ClosesAdapter(adapter, loop), publisher, database, ledger, reports, consumer]


def _prefetch(settings: SenderSettings, adapter: AnyAdapter) -> int:
    """No more messages than keep the adapter busy: what is held here is held from other copies of this sender.

    And what waits for longer than half an hour the broker gives out again.
    Source: https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
    """
    return min(settings.prefetch, 2 * adapter.capacity) if isinstance(adapter, ConnectedAdapter) else settings.prefetch
