"""From a message's bytes to the moment it may be acknowledged."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from opentelemetry.trace import Span

from wavecom_common.kernel.errors import Draining, Unavailable, Undecodable, Unroutable
from wavecom_common.kernel.retrying import until_available
from wavecom_common.messaging.handler_calls import HandlerCalls
from wavecom_common.messaging.headers import Past
from wavecom_common.messaging.held import HeldMessages
from wavecom_common.messaging.incoming import GiveUp, Handler, Incoming, Link, Raw, dead_letter
from wavecom_common.messaging.redelivery import Counters, Decision, Limits, decide
from wavecom_common.messaging.settlement import ACQUITTED, QUARANTINED, RECOUNTED, SPLIT, WAITING, Settlement
from wavecom_common.telemetry import spans
from wavecom_common.telemetry.logs import get_logger
from wavecom_common.telemetry.seldom import Seldom

LIMITS = Limits()
# So many messages left to the broker are remembered.
_MAX_LEFT: Final = 10_000

_log = get_logger()

_Step = Callable[[Incoming], Awaitable[None]]


class Handling:
    """Decides by a message's returns what is done with it, and does it; see `redelivery`.

    What time heals (`Unavailable`, `Unroutable`) is waited for in place: the message stays unacknowledged, and
    the prefetch bounds how many do. A quarantined message that shows that it can be handled, if only up to a database
    that is away, is quarantined no more.
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
        self._calls = HandlerCalls(handler, give_up, retry_delay_ms=retry_delay_ms)
        self._held = held or HeldMessages()
        self._settlement = settlement
        self._retry_delay_ms = retry_delay_ms
        self._draining = draining
        self._handler_traces = handler_traces
        self._limits = LIMITS
        # Held while a quarantined message is handled.
        self._alone = asyncio.Lock()
        self._waits = Seldom()
        # How often a message was left to the broker by this process, which lives: it came back for no fault of its own.
        self._left: dict[str, int] = {}

    async def process(self, raw: Raw, link: Link) -> bool:
        """True when the message is dealt with and may be acknowledged; False when it is left to the broker."""
        counters = Counters(
            delivery_count=raw.delivery_count,
            carried=raw.past.returns,
            left=self._left.get(raw.message_id, 0),
            quarantined=raw.past.quarantined,
        )
        raw.past = replace(raw.past, returns=counters.returns)
        done = await self._carry_out(decide(counters, self._limits), raw, link)
        self._remember(raw.message_id, done=done)
        return done

    async def _carry_out(self, decision: Decision, raw: Raw, link: Link) -> bool:
        match decision:
            case Decision.HANDLE:
                return await self._read(raw, link, self._handle)
            case Decision.HANDLE_ALONE | Decision.SPLIT if not self._alone.locked():
                async with self._alone:
                    if not await self._others_gone(link):
                        return False
                    return await self._read(raw, link, self._try if decision is Decision.HANDLE_ALONE else self._split)
            case Decision.HANDLE_ALONE | Decision.SPLIT:
                # Not held until its turn comes: it would come back with the one that is being handled.
                return await self._requeue(raw, link, raw.past, WAITING)
            case Decision.ISOLATE:
                return await self._requeue(raw, link, replace(raw.past, quarantined=True, returns=0), QUARANTINED)
            case Decision.REPUBLISH:
                return await self._requeue(raw, link, raw.past, RECOUNTED)
            case Decision.GIVE_UP:
                return await self._dead_letter(raw, link, f"given out {raw.past.returns} times, alone, and never read")

    async def _read(self, raw: Raw, link: Link, step: _Step) -> bool:
        """Decode the message and take the step with its events."""
        try:
            events = raw.decode()
        except Undecodable as error:
            return await self._dead_letter(raw, link, f"undecodable: {error}")
        incoming = Incoming(raw.queue, raw.message_id, events, self._draining, link, raw.past)
        open_spans = [] if self._handler_traces else _open_spans(incoming)
        try:
            with self._held.holding(raw.queue, events):
                return await self._until_done(raw, partial(step, incoming), link)
        except Exception as error:  # noqa: BLE001 - nothing that goes wrong may keep a message unacknowledged for ever
            reason = f"could not be settled: {type(error).__name__}"
            _log.exception("settlement_failed", queue=raw.queue, message_id=raw.message_id)
            return await self._until_done(raw, lambda: self._settlement.dead_letter_events(incoming, reason), link)
        finally:
            for span in open_spans:
                spans.end(span)

    async def _handle(self, incoming: Incoming) -> None:
        await self._settlement.settle(incoming, await self._calls.outcomes(incoming))

    async def _try(self, incoming: Incoming) -> None:
        try:
            outcomes = await self._calls.outcomes(incoming)
        except (Unavailable, Unroutable) as error:
            if incoming.link.abandoned.is_set():
                # The broker gives it out again itself.
                raise Draining("left while it was handled alone") from error
            await self._requeue_events(incoming, replace(incoming.past, quarantined=False, returns=0), ACQUITTED)
        else:
            await self._settlement.settle(incoming, outcomes)

    async def _split(self, incoming: Incoming) -> None:
        if len(incoming.events) > 1:
            for event in incoming.events:
                alone = replace(incoming, events=[event])
                await self._requeue_events(alone, replace(incoming.past, returns=0), SPLIT)
        else:
            reason = f"given out {incoming.past.returns} times, alone, and never finished"
            await self._settlement.settle(incoming, [await self._calls.given_up(incoming.events[0], reason)])

    async def _others_gone(self, link: Link) -> bool:
        """Wait until the messages that came with this one are sent back, and for less than until they are here again.

        By chance, so that a message that comes at a bad moment comes at a better one next time. False when the process
        stops, or the link was lost.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(0.2, 0.8) * self._retry_delay_ms / 1000):
                await link.abandoned.wait()
        return not link.abandoned.is_set()

    async def _requeue(self, raw: Raw, link: Link, past: Past, reason: str) -> bool:
        delay_ms = self._retry_delay_ms
        step = partial(self._settlement.requeue, raw, past, delay_ms=delay_ms, reason=reason)
        return await self._until_done(raw, step, link)

    async def _requeue_events(self, incoming: Incoming, past: Past, reason: str) -> None:
        await self._settlement.requeue_events(incoming, past, delay_ms=self._retry_delay_ms, reason=reason)

    async def _dead_letter(self, raw: Raw, link: Link, reason: str) -> bool:
        return await self._until_done(raw, partial(self._settlement.dead_letter, raw, reason), link)

    async def _until_done(self, raw: Raw, step: Callable[[], Awaitable[None]], link: Link) -> bool:
        def log(error: Exception) -> None:
            # The prefetch's worth of messages wait for the same.
            if self._waits.due(f"{raw.queue}: {error}"):
                _log.warning("waiting", queue=raw.queue, message_id=raw.message_id, error=str(error))

        try:
            await until_available(step, stop=link.abandoned, tell=log)
        except Draining:
            return False
        return True

    def _remember(self, message_id: str, *, done: bool) -> None:
        if done:
            self._left.pop(message_id, None)
        elif len(self._left) < _MAX_LEFT:
            self._left[message_id] = self._left.get(message_id, 0) + 1
        else:
            self._left.clear()


def _open_spans(incoming: Incoming) -> list[Span]:
    return [
        spans.start_process(
            group, queue=incoming.queue, message_id=incoming.message_id, batch_count=len(incoming.events)
        )
        for group in spans.by_cause(incoming.events)
    ]
