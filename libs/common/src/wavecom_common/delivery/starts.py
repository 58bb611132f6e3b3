"""Publishing that calls begin, beside the calls: no call waits for the broker."""

import asyncio
from collections.abc import Sequence

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.delivery.claims import attempt_key
from wavecom_common.events import types
from wavecom_common.kernel.errors import WavecomError
from wavecom_common.kernel.retrying import until_available
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.telemetry.logs import get_logger

_log = get_logger()


class Starts:
    """Publishes `DeliveryStarted` of attempts, and reports for each whether that is done."""

    def __init__(self, publisher: EventPublisher, provider: str) -> None:
        self._publisher = publisher
        self._provider = provider
        self._publishing: dict[str, asyncio.Task[WavecomError | None]] = {}

    def event(self, dispatched: Event, at_ms: int) -> Event:
        """That the attempt which `dispatched` orders starts."""
        return types.started(dispatched, provider=self._provider, now_ms=at_ms)

    def begin(self, dispatched: Sequence[Event], at_ms: int, stop: asyncio.Event) -> None:
        """Begin to publish, in one go, that these attempts start."""
        if not dispatched:
            return
        started = [self.event(one, at_ms) for one in dispatched]
        publishing = asyncio.get_running_loop().create_task(self._publish(started, stop))
        self._publishing.update((attempt_key(one), publishing) for one in dispatched)

    async def published(self, key: str) -> None:
        """Return when the start of this attempt, which was begun, is with the broker.

        Raises:
            Draining: the process stops before it is. The message has to come again: its next sender finds the outcome,
                and publishes the start with it.
        """
        error = await asyncio.shield(self._publishing[key])
        if error is not None:
            raise error

    def forget(self, key: str) -> None:
        """Nothing asks for this attempt any more."""
        self._publishing.pop(key, None)

    async def _publish(self, started: Sequence[Event], stop: asyncio.Event) -> WavecomError | None:
        """The error is returned: several wait for this."""

        def log(error: Exception) -> None:
            _log.warning("starts_not_told", attempts=len(started), error=str(error))

        async def publish() -> None:
            await self._publisher.publish(started)

        try:
            await until_available(publish, stop=stop, tell=log)
        except WavecomError as error:
            return error
        return None
