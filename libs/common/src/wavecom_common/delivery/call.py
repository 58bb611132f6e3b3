"""The second stage of a delivery: the provider call, and what its end, any end, says about it."""

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from wavecom_proto.v1.events_pb2 import Event

from wavecom_common.delivery import metering
from wavecom_common.delivery.connections import Line
from wavecom_common.delivery.port import Attempt
from wavecom_common.events.outcomes import (
    DeliveryOutcome,
    PermanentFailure,
    TransientFailure,
    UnknownOutcome,
    checked,
)
from wavecom_common.events.payloads import Payload
from wavecom_common.telemetry import spans
from wavecom_common.telemetry.logs import get_logger

# How often a call is begun whose connection breaks before it is handed over, until its attempt counts as failed.
MAX_CALLS: Final = 3

_log = get_logger()


@dataclass(frozen=True, slots=True)
class _NotMade:
    """A call whose connection broke before it could take effect."""

    error: str


class CallStage:
    """Makes the calls to one provider. `timeout_s` is for a call alone: its connection is ready before it begins."""

    def __init__(self, provider: str, *, timeout_s: float) -> None:
        self._provider = provider
        self._timeout_s = timeout_s

    async def call(self, event: Event, payload: Payload | None, line: Line, draining: asyncio.Event) -> DeliveryOutcome:
        """How the attempt which `event` orders went, delivering `payload`. The line is released.

        Raises:
            Draining: the connection broke before the call was handed over, and the process stops.
        """
        if payload is None:
            _log.error("payload_missing", notification_id=event.notification_id, payload_id=event.content.payload_id)
            return PermanentFailure("what was to be delivered is not stored any more")
        begun_s = perf_counter()
        with spans.provider_call(event, self._provider) as span:
            outcome = await self._make(_attempt(event, payload), line, draining)
            spans.note_outcome(span, outcome)
        # Others may call while this outcome is stored and published.
        line.release()
        metering.count_call(self._provider, outcome, perf_counter() - begun_s)
        return outcome

    async def _make(self, attempt: Attempt, line: Line, draining: asyncio.Event) -> DeliveryOutcome:
        """Call, again over another connection while the call was not handed over."""
        calls = 1
        while isinstance(made := await self._once(attempt, line), _NotMade):
            _log.warning("call_not_made", notification_id=attempt.notification_id, calls=calls, error=made.error)
            if calls == MAX_CALLS:
                return TransientFailure(f"the call could not be made: {made.error}")
            calls += 1
            await line.replace(draining)
        return made

    async def _once(self, attempt: Attempt, line: Line) -> DeliveryOutcome | _NotMade:
        try:
            async with asyncio.timeout(self._timeout_s):
                return checked(await line.deliver(attempt))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Not we were cancelled: the adapter's client lets its own cancellations out.
            error = "the adapter's call was cancelled"
        except TimeoutError:
            error = f"no answer from the provider within {self._timeout_s:g} s"
        except Exception as raised:  # noqa: BLE001 - an adapter's bug must not report a delivery as failed or sent
            # Its text may name an address.
            error = f"the adapter raised {type(raised).__name__}"
            if line.handed_over:
                number = attempt.number
                _log.error("adapter_failed", notification_id=attempt.notification_id, attempt=number, error=error)
        return UnknownOutcome(error) if line.handed_over else _NotMade(error)


def _attempt(event: Event, payload: Payload) -> Attempt:
    return Attempt(
        notification_id=event.notification_id,
        number=event.attempt,
        dedup_key=event.dedup_key,
        recipient=event.content.recipient,
        message=payload.message,
        subject=payload.subject,
    )
