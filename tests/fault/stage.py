"""A sender as a process of the test's own, on a real broker and database, and what it did."""

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from wavecom_common.events import routing, types
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import connected
from wavecom_common.testing import broker
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.processes import running
from wavecom_proto.v1.events_pb2 import Event

# What is told of a call that was repeated.
UNKNOWN = [types.DISPATCHED, types.OUTCOME_UNKNOWN, types.STARTED, types.SENT]
SCRIPT = Path(__file__).with_name("crashing_sender.py")
DELAYS_MS = [200, 400, 800, 1000]


@dataclass(frozen=True)
class Stage:
    """Where a sender is put: its broker, its database, and the provider's own record of calls."""

    broker_url: str
    environment: dict[str, str]
    folder: Path

    @property
    def calls(self) -> list[str]:
        record = self.folder / "calls"
        return [json.loads(line)["key"] for line in record.read_text().splitlines()] if record.exists() else []

    @property
    def log(self) -> str:
        """What its processes logged."""
        log = self.folder / "log"
        return log.read_text() if log.exists() else ""


def process(stage: Stage, *command: str | Path, **more: str) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """`python <command>`, with more settings, told to stop at the end if it still runs."""
    return running(*command, environment=stage.environment | more, log=stage.folder / "log")


def sender(
    stage: Stage, point: str, *, clock_ahead_s: int = 0
) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """A sender that dies at that point; its clock may be wrong."""
    return process(stage, SCRIPT, point, stage.folder / "marker", str(clock_ahead_s))


async def order(stage: Stage, on_unknown: str = "resend") -> str:
    """Hand one attempt to the sender's queue, as the dispatcher does; its notification's id."""
    now_ms = SYSTEM_CLOCK.now_ms()
    request = a_request(channel="sms", recipient="+15551234567", on_unknown=on_unknown, now_ms=now_ms)
    await publish(stage, a_dispatch(request=request, now_ms=now_ms))
    return request.notification_id


async def publish(stage: Stage, *events: Event) -> None:
    """Put events on their way."""
    async with broker.publishing(stage.broker_url) as publisher:
        await publisher.publish(events, timeout_s=10)


async def taken(stage: Stage, queue: str = routing.PROJECTOR_QUEUE) -> list[Event]:
    """The events that came for the projector since they were taken last, each fact once, in order of first telling.

    Or those of another queue.
    """
    seen: dict[str, Event] = {}
    for event in await broker.taken(stage.broker_url, queue):
        seen.setdefault(event.event_id, event)
    return list(seen.values())


async def told(stage: Stage) -> list[str]:
    """The types of those events."""
    return [event.type for event in await taken(stage)]


async def settled(stage: Stage) -> bool:
    """Whether the sender's queues are empty, nothing waits, and an end is on its way to the projector."""
    queues = [routing.sender_queue("sms", priority) for priority in ("high", "medium", "low")]
    queues += [routing.retry_name(delay_ms) for delay_ms in DELAYS_MS]
    async with connected(stage.broker_url, "test") as connection:
        waiting = await topology.message_counts(connection, queues)
    return not any(waiting.values()) and (await broker.depth(stage.broker_url, routing.PROJECTOR_QUEUE) or 0) >= 3
