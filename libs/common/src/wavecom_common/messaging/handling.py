"""From a message's bytes to the moment it may be acknowledged."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from opentelemetry.trace import Span
from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import codec
from wavecom_common.kernel.errors import Draining, Unavailable, Undecodable, Unroutable
from wavecom_common.kernel.retrying import until_available
from wavecom_common.messaging.incoming import GiveUp, Handler, Incoming, dead_letter
from wavecom_common.messaging.outcome import DeadLetter, Outcome, Retry
from wavecom_common.messaging.settlement import Settlement
from wavecom_common.telemetry import spans
from wavecom_common.telemetry.logs import get_logger

# How often a message may come back before it is taken for one that kills its handler.
MAX_REDELIVERIES: Final = 20
# How often an event may make its handler raise.
MAX_FAILURES: Final = 3

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Raw:
    """A message as it came."""

    queue: str
    message_id: str
    body: bytes
    content_type: str | None
    content_encoding: str | None
    redeliveries: int
    failures: int


class Handling:
    """Decodes a message, has its events handled, and sees to those that could not be.

    What time heals (`Unavailable`, `Unroutable`) is waited for in place: the message stays unacknowledged, and
    the prefetch bounds how many do. Any other exception counts against the one event that causes it; the others of
    its message go their way.
    """

    def __init__(
        self,
        handler: Handler,
        settlement: Settlement,
        *,
        retry_delay_ms: int,
        draining: asyncio.Event,
        give_up: GiveUp = dead_letter,
    ) -> None:
        self._handler = handler
        self._settlement = settlement
        self._retry_delay_ms = retry_delay_ms
        self._draining = draining
        self._give_up = give_up

    async def process(self, raw: Raw) -> bool:
        """True when the message is dealt with and may be acknowledged; False when it is left to the broker."""
        try:
            events = codec.decode(raw.body, content_type=raw.content_type, content_encoding=raw.content_encoding)
        except Undecodable as error:
            reason = f"undecodable: {error}"
            return await self._until_done(raw, lambda: self._dead_letter(raw, reason))
        incoming = Incoming(raw.queue, raw.message_id, events, self._draining, raw.redeliveries, raw.failures)
        open_spans = _open_spans(incoming)
        try:
            return await self._until_done(raw, lambda: self._handle(incoming))
        finally:
            for span in open_spans:
                spans.end(span)

    async def _handle(self, incoming: Incoming) -> None:
        outcomes = await self._outcomes(incoming)
        await self._settlement.settle(incoming.queue, incoming.events, outcomes, incoming.failures)

    async def _outcomes(self, incoming: Incoming) -> Sequence[Outcome]:
        if incoming.redeliveries > MAX_REDELIVERIES:
            reason = f"given out {incoming.redeliveries} times and never finished"
            return [await self._given_up(event, reason) for event in incoming.events]
        try:
            return await self._handler(incoming)
        except (Unavailable, Unroutable, Draining):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a handler raises ends in an outcome
            if len(incoming.events) > 1:
                alone = [self._outcomes(replace(incoming, events=[event])) for event in incoming.events]
                return [outcome for [outcome] in await asyncio.gather(*alone)]
            return [await self._after(error, incoming.events[0], incoming)]

    async def _after(self, error: Exception, event: Event, incoming: Incoming) -> Outcome:
        _log.error("handler_failed", queue=incoming.queue, event_id=event.event_id, exc_info=error)
        reason = f"handler failed: {type(error).__name__}"
        if incoming.failures + 1 < MAX_FAILURES:
            return Retry(self._retry_delay_ms, reason, failed=1)
        return await self._given_up(event, reason)

    async def _given_up(self, event: Event, reason: str) -> Outcome:
        try:
            return await self._give_up(event, reason)
        except (Unavailable, Unroutable, Draining):
            raise
        except Exception:  # noqa: BLE001 - what can't even be given up must not stay unacknowledged for ever
            _log.exception("give_up_failed", event_id=event.event_id)
            return DeadLetter(reason)

    async def _dead_letter(self, raw: Raw, reason: str) -> None:
        await self._settlement.dead_letter_body(
            raw.queue,
            raw.body,
            content_type=raw.content_type,
            content_encoding=raw.content_encoding,
            reason=reason,
        )

    async def _until_done(self, raw: Raw, step: Callable[[], Awaitable[None]]) -> bool:
        def tell(error: Exception) -> None:
            _log.warning("waiting", queue=raw.queue, message_id=raw.message_id, error=str(error))

        try:
            await until_available(step, stop=self._draining, tell=tell)
        except Draining:
            return False
        return True


def _open_spans(incoming: Incoming) -> list[Span]:
    return [
        spans.start_process(
            group, queue=incoming.queue, message_id=incoming.message_id, batch_count=len(incoming.events)
        )
        for group in spans.by_cause(incoming.events)
    ]
