"""Asking the handler, so that every event of a message ends in an outcome, whatever the handler raises."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.kernel.errors import Draining, Unavailable, Unroutable
from wavecom_common.kernel.tasks import all_ended
from wavecom_common.messaging.incoming import GiveUp, Handler, Incoming
from wavecom_common.messaging.outcome import DeadLetter, Outcome, Retry
from wavecom_common.telemetry.logs import get_logger

# How often an event may make its handler raise.
MAX_FAILURES: Final = 3
# Not the event's fault: raised on, and waited for or left to the broker.
_NOT_A_FAILURE: Final = (Unavailable, Unroutable, Draining)

_log = get_logger()


class HandlerCalls:
    """The outcomes of a message's events, by the handler, and by `give_up` where it was asked too often.

    An exception counts against the one event that causes it; the others of its message go their way.
    """

    def __init__(self, handler: Handler, give_up: GiveUp, *, retry_delay_ms: int) -> None:
        self._handler = handler
        self._give_up = give_up
        self._retry_delay_ms = retry_delay_ms

    async def outcomes(self, incoming: Incoming) -> Sequence[Outcome]:
        """One outcome for each event, in order.

        Raises:
            Unavailable, Unroutable: the handler waits for what time heals; ask again.
            Draining: the handler leaves the message to the broker.
        """
        try:
            return await self._handler(incoming)
        except _NOT_A_FAILURE:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a handler raises ends in an outcome
            if len(incoming.events) > 1:
                alone = [self.outcomes(replace(incoming, events=[event])) for event in incoming.events]
                return [outcome for [outcome] in await all_ended(alone)]
            return [await self._after(error, incoming)]

    async def given_up(self, event: Event, reason: str) -> Outcome:
        """The outcome of an event that is not handled any more.

        Raises:
            Unavailable, Unroutable, Draining: as `outcomes`.
        """
        try:
            return await self._give_up(event, reason)
        except _NOT_A_FAILURE:
            raise
        except Exception:  # noqa: BLE001 - what can't even be given up must not stay unacknowledged for ever
            _log.exception("give_up_failed", event_id=event.event_id)
            return DeadLetter(reason)

    async def _after(self, error: Exception, incoming: Incoming) -> Outcome:
        [event] = incoming.events
        _log.error("handler_failed", queue=incoming.queue, event_id=event.event_id, exc_info=error)
        reason = f"handler failed: {type(error).__name__}"
        if incoming.past.failures + 1 < MAX_FAILURES:
            return Retry(self._retry_delay_ms, reason, failed=1)
        return await self.given_up(event, reason)
