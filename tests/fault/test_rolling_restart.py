"""Everything is restarted under load, one copy of each process at a time, while a newer version is already about."""

import asyncio
import json
import os
import secrets
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx
import pytest
from status_projector.model.read_model import ReadModel
from status_projector.recovery.checker import Checker
from status_projector.store.event_store import EventStore
from wavecom_common.channels.registry import declared
from wavecom_common.events import routing, types
from wavecom_common.events.channels import CHANNELS
from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_common.storage.client import Database
from wavecom_common.testing.broker import publishing
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.otlp import OtlpReceiver, ReceivedSpan
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event
from wavecom_stack.folder import RunFolder
from wavecom_stack.infra import MONGODB_URL, RABBITMQ_URL, Infra
from wavecom_stack.ports import free_ports
from wavecom_stack.stack import Stack
from wavecom_stack.state import State
from wavecom_stack.testing import virtual_host
from wavecom_stack.up import start

from tests.system import dead_letters
from tests.telemetry.edges import missing

RECIPIENTS = {name: channel.sandbox(1) for name, channel in declared().items()}
READERS = ("dispatcher", *map(routing.sender_name, CHANNELS), "status-projector")
# One copy of each reader at a time.
WAVES = (["ingest-api", *(f"{name}-1" for name in READERS)], ["status-query", *(f"{name}-2" for name in READERS)])
# A field that only a newer version knows: number 900, a string.
FROM_THE_FUTURE = b"\xa2\x38\x02hi"


@dataclass(frozen=True)
class Fleet:
    """A system with two copies of every process that reads a queue."""

    stack: Stack
    state: State
    broker_url: str
    environment: dict[str, str]
    otlp: OtlpReceiver

    async def restart(self, names: Collection[str]) -> None:
        """SIGTERM to these processes; return when all are back and ready."""
        supervisor = self.stack.supervisor
        await asyncio.gather(*[asyncio.to_thread(supervisor.stop_program, name) for name in names])
        await asyncio.gather(*[asyncio.to_thread(supervisor.start_program, name) for name in names])
        await eventually(self.all_ready, timeout_s=90, what="readiness after a restart")

    async def all_ready(self) -> bool:
        async with httpx.AsyncClient(timeout=5) as client:
            asked = [client.get(f"{url}/health/ready") for url in self.state.admin_urls.values()]
            answers = await asyncio.gather(*asked, return_exceptions=True)
        return all(isinstance(answer, httpx.Response) and answer.is_success for answer in answers)

    @property
    def calls(self) -> Counter[tuple[str, int]]:
        lines = Path(self.environment["WAVECOM_SIMULATED_CALLS_FILE"]).read_text().splitlines()
        return Counter((call["notificationId"], call["attempt"]) for call in map(json.loads, lines))

    def traces(self) -> dict[str, list[ReceivedSpan]]:
        """The spans of every notification, by its id."""
        spans = self.otlp.spans
        by_trace = defaultdict(list)
        for span in spans:
            by_trace[span.trace_id].append(span)
        owners = {(span.attributes.get("wavecom.notification.id", ""), span.trace_id) for span in spans}
        found = defaultdict(list)
        for notification_id, trace_id in owners:
            found[notification_id] += by_trace[trace_id]
        return found


@pytest.fixture
def fleet(infra: Infra, management_url: str, database_name: str, tmp_path: Path) -> Iterator[Fleet]:
    otlp, ports = OtlpReceiver(), free_ports()
    with virtual_host(infra, management_url) as broker_url:
        environment = {
            **os.environ,
            **{f"WAVECOM_COPIES_{name.upper().replace('-', '_')}": "2" for name in READERS},
            RABBITMQ_URL: broker_url,
            MONGODB_URL: infra.mongodb_url,
            "WAVECOM_MONGODB_DATABASE": database_name,
            "WAVECOM_HTTP_PORT": str(next(ports)),
            "WAVECOM_GRPC_PORT": str(next(ports)),
            "WAVECOM_SIMULATED_SUCCESS_RATE": "1",
            "WAVECOM_SIMULATED_MIN_DELAY_MS": "20",
            "WAVECOM_SIMULATED_MAX_DELAY_MS": "200",
            "WAVECOM_SIMULATED_CALLS_FILE": str(tmp_path / "calls"),
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp.endpoint,
            "OTEL_TRACES_SAMPLER": "parentbased_always_on",
            # Nearly all spans leave at the end of a process.
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
        }
        stack = Stack(RunFolder(tmp_path / "run"), environment, print)
        try:
            yield Fleet(stack, start(stack, print), broker_url, environment, otlp)
        finally:
            stack.stop()
            otlp.stop()


@asynccontextmanager
async def under_load(fleet: Fleet) -> AsyncIterator[dict[str, str]]:
    """Clients that repeat a request, under its key, until it is taken; the channels of all accepted, by id."""
    accepted, stop, numbers = dict[str, str](), asyncio.Event(), count()

    async def ask(api: httpx.AsyncClient) -> None:
        while not stop.is_set():
            channel = CHANNELS[next(numbers) % len(CHANNELS)]
            body = {"channel": channel, "recipient": RECIPIENTS[channel], "message": "Your order has been shipped!"}
            key = {"Idempotency-Key": secrets.token_hex(16)}

            async def taken(body: dict[str, str] = body, key: dict[str, str] = key) -> str | None:
                try:
                    answer = await api.post("/api/notifications", json=body, headers=key)
                except httpx.TransportError:
                    return None
                return str(answer.json()["data"]["id"]) if answer.status_code == 201 else None

            accepted[await eventually(taken, timeout_s=60) or ""] = channel

    async with httpx.AsyncClient(base_url=fleet.state.api_url, timeout=20) as api:
        asking = [asyncio.create_task(ask(api)) for _ in range(2)]
        try:
            yield accepted
        finally:
            stop.set()
            await asyncio.gather(*asking)


async def tell_from_the_future(broker_url: str) -> str:
    """What a newer version publishes: a request with a field we do not know, and an event of a type we do not know."""
    request = Event.FromString(
        a_request(channel="sms", recipient="+15551234567", now_ms=SYSTEM_CLOCK.now_ms()).SerializeToString()
        + FROM_THE_FUTURE
    )
    opened = Event()
    opened.CopyFrom(request)
    opened.type, opened.event_id = "NotificationOpened", f"{request.notification_id}:1:NotificationOpened"
    async with publishing(broker_url) as publisher:
        await publisher.publish([request], timeout_s=10)
        await publisher.publish_message(routing.EVENTS_EXCHANGE, "notification.opened.sms", publisher.message([opened]))
    return request.notification_id


@pytest.mark.timeout(400)
async def test_a_rolling_restart_loses_nothing_repeats_nothing_and_breaks_no_trace(
    fleet: Fleet, mongodb_url: str, database_name: str
) -> None:
    newer: list[str] = []
    async with under_load(fleet) as accepted:
        for wave in WAVES:
            before = len(accepted)
            newer.append(await tell_from_the_future(fleet.broker_url))
            await fleet.restart(wave)
            await eventually(lambda before=before: len(accepted) > before + 20, timeout_s=60)  # type: ignore[misc]

    database = Database(mongodb_url, database_name)
    store = EventStore(database)
    ids = {*accepted, *newer}

    async def all_sent() -> bool:
        events = [event async for event in store.stream()]
        return ids == {event.notification_id for event in events if event.type == types.SENT}

    await eventually(all_sent, timeout_s=60, what="the end of all")
    report = await Checker(store, ReadModel(database)).run()
    assert (report.differing, report.open) == (0, 0)
    events = [event async for event in store.stream()]
    await database.close()
    assert fleet.calls == dict.fromkeys(((one, 1) for one in ids), 1)
    assert types.OUTCOME_UNKNOWN not in {event.type for event in events}
    assert sorted(event.notification_id for event in events if event.type == "NotificationOpened") == sorted(newer)
    assert await dead_letters(fleet.broker_url) == 0

    await asyncio.to_thread(fleet.stack.stop)
    traces = fleet.traces()
    assert [one for one, channel in accepted.items() if missing(channel, traces[one])] == []
