"""The dispatcher's components, put together."""

from collections.abc import Sequence

from wavecom_common.events import routing
from wavecom_common.events.channels import CHANNELS, PRIORITIES
from wavecom_common.hosting.settings import LOOK_AGAIN_MS
from wavecom_common.kernel.component import Component
from wavecom_common.messaging.consumer import Consumer
from wavecom_common.messaging.publisher import EventPublisher

from dispatcher.handler import Dispatcher
from dispatcher.settings import DispatcherSettings


def build(settings: DispatcherSettings) -> Sequence[Component]:
    """A consumer of requests and the publisher it needs."""
    url = settings.broker_url
    senders = [routing.sender_queue(channel, priority) for channel in CHANNELS for priority in PRIORITIES]
    publisher = EventPublisher(
        url,
        name="dispatcher",
        required_queues=[routing.PROJECTOR_QUEUE, routing.retry_name(LOOK_AGAIN_MS), *senders],
        linger_s=settings.batch_linger_ms / 1000,
        max_events=settings.batch_max_events,
    )
    consumer = Consumer(
        url,
        name="dispatcher",
        queues=[routing.DISPATCHER_QUEUE],
        prefetch=settings.prefetch,
        handler=Dispatcher(publisher).handle,
        publisher=publisher,
        retry_delay_ms=LOOK_AGAIN_MS,
    )
    return [publisher, consumer]
