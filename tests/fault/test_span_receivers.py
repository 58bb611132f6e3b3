"""Whoever should receive the spans and does not: nobody waits for it, and what is kept for it is bounded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from wavecom_common.events import types
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.waiting import eventually

from tests.fault.stage import Stage, process, publish, taken

NOTIFICATIONS = 300
SAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """The port of a server that accepts, reads and never answers."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def refusing() -> AsyncIterator[int]:
    """A port on which nobody listens."""
    async with silent() as port:
        pass
    yield port


@pytest.mark.timeout(300)
@pytest.mark.parametrize("receiver", [refusing, silent], ids=["refuses", "never answers"])
async def test_everything_is_sent_and_every_process_ends_when_told_to(
    stage: Stage, receiver: type[AsyncIterator[int]]
) -> None:
    requests = [a_request(channel="sms") for _ in range(NOTIFICATIONS)]
    for request in requests:
        request.traceparent = SAMPLED
    sent = set[str]()

    async def all_sent() -> bool:
        sent.update(event.notification_id for event in await taken(stage) if event.type == types.SENT)
        return len(sent) == NOTIFICATIONS

    async with receiver() as port:  # type: ignore[attr-defined]
        tracing = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_BSP_MAX_QUEUE_SIZE": "64",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "32",
            "WAVECOM_SIMULATED_SUCCESS_RATE": "1",
        }
        async with (
            process(stage, "-m", "dispatcher", **tracing) as dispatcher,
            process(stage, "-m", "sms_sender", **tracing) as sender,
        ):
            await publish(stage, *requests)
            await eventually(all_sent, timeout_s=60)
            for running in (dispatcher, sender):
                running.terminate()
            async with asyncio.timeout(90):
                assert [await running.wait() for running in (dispatcher, sender)] == [0, 0]
    assert "Queue full" in stage.log
