"""From a message's bytes to the moment it may be acknowledged."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from opentelemetry.trace import Span
from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.events import codec
from wavecom_common.kernel.errors import Draining, Unavailable, Undecodable, Unroutable
from wavecom_common.kernel.retrying import until_available
from wavecom_common.kernel.tasks import all_ended
from wavecom_common.messaging.held import HeldMessages
from wavecom_common.messaging.incoming import GiveUp, Handler, Incoming, Link, dead_letter
from wavecom_common.messaging.outcome import DeadLetter, Outcome, Retry
from wavecom_common.messaging.settlement import Settlement
from wavecom_common.telemetry import spans
from wavecom_common.telemetry.logs import get_logger
from wavecom_common.telemetry.seldom import Seldom

# How often a message may come back before it is suspected to kill its handler. A lost link brings it back as well, and
# so does the end of a process that another message killed: a suspect is only tried alone.
MAX_REDELIVERIES: Final = 10
# How often a suspect may come back before it is taken apart, and, when it is of one event, given up.
MAX_TRIALS: Final = 5
# How far the broker may count returns, whoever caused them, before a message is published anew, and counted from there:
# at `topology.DELIVERY_LIMIT` it takes the message away.
MAX_COUNTED: Final = 50
# So many messages left to the broker are remembered.
_MAX_LEFT: Final = 10_000
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
    suspect: bool = False
    replayed: bool = False


class Handling:
    """Decodes a message, has its events handled, and sees to those that could not be.

    What time heals (`Unavailable`, `Unroutable`) is waited for in place: the message stays unacknowledged, and
    the prefetch bounds how many do. Any other exception counts against the one event that causes it; the others of
    its message go their way.

    A message that kills the process tells nobody; it only comes back, as do all that were in hand with it. So who came
    back too often is sent back as a suspect, and of suspects one at a time is handled: now only the guilty comes back.
    One that shows that it can be handled, if only up to a database that is away, is none any more.
    """

    def __init__(
        self,
        handler: Handler,
        settlement: Settlement,
        *,
        retry_delay_ms: int,
        draining: asyncio.Event,
        give_up: GiveUp = dead_letter,
        held: HeldMessages | None = None,
        handler_traces: bool = False,
    ) -> None:
        self._handler = handler
        self._held = held or HeldMessages()
        self._settlement = settlement
        self._retry_delay_ms = retry_delay_ms
        self._draining = draining
        self._give_up = give_up
        self._handler_traces = handler_traces
        self._trial = asyncio.Lock()
        self._waits = Seldom()
        # How often a message was left to the broker by us, who live: so often it came back for no fault of its own.
        self._left: dict[str, int] = {}

    async def process(self, raw: Raw, link: Link) -> bool:
        """True when the message is dealt with and may be acknowledged; False when it is left to the broker."""
        try:
            events = codec.decode(raw.body, content_type=raw.content_type, content_encoding=raw.content_encoding)
        except Undecodable as error:
            reason = f"undecodable: {error}"
            return await self._until_done(raw, lambda: self._dead_letter(raw, reason), link)
        redeliveries = max(0, raw.redeliveries - self._left.get(raw.message_id, 0))
        incoming = _incoming(replace(raw, redeliveries=redeliveries), events, self._draining, link)
        open_spans = [] if self._handler_traces else _open_spans(incoming)
        try:
            with self._held.holding(raw.queue, events):
                done = await self._until_done(raw, lambda: self._handle(incoming, raw.redeliveries), link)
            self._remember(raw.message_id, done=done)
            return done
        except Exception as error:  # noqa: BLE001 - nothing that goes wrong may keep a message unacknowledged for ever
            reason = f"could not be settled: {type(error).__name__}"
            _log.exception("settlement_failed", queue=raw.queue, message_id=raw.message_id)
            return await self._until_done(raw, lambda: self._dead_letter(raw, reason), link)
        finally:
            for span in open_spans:
                spans.end(span)

    def _remember(self, message_id: str, *, done: bool) -> None:
        if done:
            self._left.pop(message_id, None)
        elif len(self._left) < _MAX_LEFT:
            self._left[message_id] = self._left.get(message_id, 0) + 1
        else:
            self._left.clear()

    async def _handle(self, incoming: Incoming, counted: int) -> None:
        if counted > MAX_COUNTED:
            await self._send_back(incoming, suspect=incoming.suspect, returns=incoming.redeliveries)
        elif incoming.suspect:
            await self._try_alone(incoming)
        elif incoming.redeliveries > MAX_REDELIVERIES:
            await self._send_back(incoming, suspect=True, returns=0)
        else:
            await self._settlement.settle(incoming, await self._outcomes(incoming))

    async def _try_alone(self, incoming: Incoming) -> None:
        if self._trial.locked():
            # Not held until its turn comes: it would come back with the one that is being tried.
            await self._send_back(incoming, suspect=True, returns=incoming.redeliveries)
            return
        async with self._trial:
            await self._let_others_go(incoming)
            if incoming.redeliveries <= MAX_TRIALS:
                await self._try(incoming)
            elif len(incoming.events) > 1:
                for event in incoming.events:
                    await self._send_back(replace(incoming, events=[event]), suspect=True, returns=0)
            else:
                reason = f"given out {incoming.redeliveries} times, alone, and never finished"
                await self._settlement.settle(incoming, [await self._given_up(incoming.events[0], reason)])

    async def _let_others_go(self, incoming: Incoming) -> None:
        """Wait until the suspects that came with this one are sent back, and for less than until they are here again.

        By chance, so that a suspect that comes at a bad moment comes at a better one next time.

        Raises:
            Draining: the process stops, or the link was lost.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(0.2, 0.8) * self._retry_delay_ms / 1000):
                await incoming.link.abandoned.wait()
        if incoming.link.abandoned.is_set():
            raise Draining("left before its trial")

    async def _try(self, incoming: Incoming) -> None:
        try:
            outcomes = await self._outcomes(incoming)
        except (Unavailable, Unroutable) as error:
            if incoming.link.abandoned.is_set():
                # The broker gives it out again itself.
                raise Draining("left during its trial") from error
            await self._send_back(incoming, suspect=False, returns=0)
        else:
            await self._settlement.settle(incoming, outcomes)

    async def _send_back(self, incoming: Incoming, *, suspect: bool, returns: int) -> None:
        await self._settlement.again(incoming, delay_ms=self._retry_delay_ms, suspect=suspect, returns=returns)

    async def _outcomes(self, incoming: Incoming) -> Sequence[Outcome]:
        try:
            return await self._handler(incoming)
        except (Unavailable, Unroutable, Draining):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a handler raises ends in an outcome
            if len(incoming.events) > 1:
                alone = [self._outcomes(replace(incoming, events=[event])) for event in incoming.events]
                return [outcome for [outcome] in await all_ended(alone)]
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

    async def _until_done(self, raw: Raw, step: Callable[[], Awaitable[None]], link: Link) -> bool:
        def tell(error: Exception) -> None:
            # The prefetch's worth of messages wait for the same.
            if self._waits.due(f"{raw.queue}: {error}"):
                _log.warning("waiting", queue=raw.queue, message_id=raw.message_id, error=str(error))

        try:
            await until_available(step, stop=link.abandoned, tell=tell)
        except Draining:
            return False
        return True


def _incoming(raw: Raw, events: Sequence[Event], draining: asyncio.Event, link: Link) -> Incoming:
    return Incoming(
        raw.queue,
        raw.message_id,
        events,
        draining,
        link,
        redeliveries=raw.redeliveries,
        failures=raw.failures,
        suspect=raw.suspect,
        replayed=raw.replayed,
    )


def _open_spans(incoming: Incoming) -> list[Span]:
    return [
        spans.start_process(
            group, queue=incoming.queue, message_id=incoming.message_id, batch_count=len(incoming.events)
        )
        for group in spans.by_cause(incoming.events)
    ]
