"""A sender that kills itself once, at a named point: `python crashing_sender.py POINT MARKER [CLOCK_AHEAD_S]`.

The process is the real one; only the step before or after which it dies is wrapped. Its host's clock may be wrong.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from sms_sender.channel import CHANNEL
from wavecom_common.delivery.ledger import Ledger
from wavecom_common.delivery.loop import DeliveryLoop
from wavecom_common.delivery.simulated import SimulatedProvider
from wavecom_common.events import types
from wavecom_common.hosting.sender import SenderSettings, run_sender
from wavecom_common.kernel.clock import SystemClock
from wavecom_common.messaging import handling
from wavecom_common.messaging.publisher import EventPublisher
from wavecom_common.messaging.redelivery import Limits
from wavecom_common.testing.crashing import Method, die, dying_after, dying_before


def dying_during_the_call(method: Method, marker: Path) -> Method:
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        call = asyncio.ensure_future(method(*args, **kwargs))
        await asyncio.wait([call], timeout=0.05)
        die(marker)
        return await call

    return wrapped


def dying_after_the_call(method: Method) -> Method:
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        await method(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    return wrapped


def dying_after_the_terminal_event(method: Method, marker: Path) -> Method:
    async def wrapped(self: Any, events: Any, **kwargs: Any) -> None:
        await method(self, events, **kwargs)
        if any(event.type in types.TERMINAL_TYPES for event in events):
            die(marker)

    return wrapped


def plant(point: str, marker: Path) -> None:
    match point:
        case "before claim":
            Ledger.claim_all = dying_before(Ledger.claim_all, marker)  # type: ignore[method-assign]
        case "after claim":
            Ledger.claim_all = dying_after(Ledger.claim_all, marker)  # type: ignore[method-assign]
        case "during the provider call":
            SimulatedProvider.deliver = dying_during_the_call(SimulatedProvider.deliver, marker)  # type: ignore[method-assign]
        case "after the provider's answer":
            SimulatedProvider.deliver = dying_after(SimulatedProvider.deliver, marker)  # type: ignore[method-assign]
        case "after the outcome is stored":
            Ledger.settle_all = dying_after(Ledger.settle_all, marker)  # type: ignore[method-assign]
        case "after publish":
            EventPublisher.publish = dying_after_the_terminal_event(EventPublisher.publish, marker)  # type: ignore[method-assign]
        case "before ack":
            DeliveryLoop.handle = dying_after(DeliveryLoop.handle, marker)  # type: ignore[method-assign]
        case "in every call":
            # Impatient, so that a test need not let it die two dozen times.
            handling.LIMITS = Limits(redeliveries=1, trials=1)
            SimulatedProvider.deliver = dying_after_the_call(SimulatedProvider.deliver)  # type: ignore[method-assign]
        case "nowhere":
            pass
        case _:
            raise ValueError(point)


def set_clock(ahead_s: int) -> None:
    SystemClock.now_ms = lambda _: time.time_ns() // 1_000_000 + ahead_s * 1000  # type: ignore[method-assign]


if __name__ == "__main__":
    set_clock(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    plant(sys.argv[1], Path(sys.argv[2]))
    run_sender(CHANNEL, SenderSettings, lambda settings: SimulatedProvider(settings.simulation))
