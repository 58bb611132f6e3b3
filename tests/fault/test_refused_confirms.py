"""A broker that nacks: a full queue is reported as one, and a channel that is served badly is left for another one."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs
from wavecom_common.events import routing
from wavecom_common.kernel.errors import Overloaded
from wavecom_common.messaging import topology
from wavecom_common.messaging.connection import connected
from wavecom_common.messaging.refusals import GRACE_S
from wavecom_common.testing.broker import depth, publishing
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.tcp_proxy import TcpProxy
from wavecom_common.testing.waiting import eventually

# A method frame's size, its class (basic) and its method; acks and nacks are of one length.
ACK = bytes.fromhex("0000000d003c0050")
NACK = bytes.fromhex("0000000d003c0078")
# What the broker answers about a queue, up to the number of its messages.
DEPTH = re.compile(rb"(\x00\x32\x00\x0b\x17" + routing.PROJECTOR_QUEUE.encode() + rb")....", re.DOTALL)


@pytest.fixture
async def broker(broker_url: str) -> str:
    await topology.apply(broker_url, topology.plan([1000]), settle_s=0)
    return broker_url


class Refusing(TcpProxy):
    """Shows a broker as one with a dead leader: on a link that was opened while `sick`, for as long as the link lives.

    It turns acks into nacks, and shows no messages.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.sick = False

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        write = sink.write
        sick = self.sick

        def turned(data: bytes) -> None:
            write(DEPTH.sub(rb"\1\0\0\0\0", data.replace(ACK, NACK)) if sick else data)

        sink.write = turned  # type: ignore[method-assign]
        await super()._pump(source, sink)


@asynccontextmanager
async def refusing(url: str) -> AsyncIterator[tuple[Refusing, str]]:
    parts = urlsplit(url)
    async with Refusing(parts.hostname or "", parts.port or 0) as proxy:
        yield proxy, url.replace(f":{parts.port}/", f":{proxy.port}/")


async def test_a_channel_that_nacks_from_its_first_message_on_is_left_for_another_one(broker: str) -> None:
    # As RabbitMQ 3.10 does it with a channel opened while the recorded leader of a queue is dead.
    async with refusing(broker) as (proxy, url):
        proxy.sick = True
        async with publishing(url) as publisher:
            await eventually(lambda: publisher.ready() is None)
            proxy.sick = False
            with capture_logs() as logs:
                async with asyncio.timeout(GRACE_S / 2):
                    await asyncio.gather(*[publisher.publish([a_request()]) for _ in range(200)])
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["link_lost"]
    assert (await depth(broker, routing.DISPATCHER_QUEUE) or 0) >= 2


@pytest.mark.timeout(90)
@pytest.mark.parametrize("shown", [True, False])
async def test_a_queue_that_was_full_before_is_found_to_be_full(broker: str, shown: bool) -> None:
    full = {"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"}
    async with connected(broker, "test full") as connection, publishing(broker) as filling:
        queue = await (await connection.channel()).declare_queue("test.full", durable=True, arguments=full)
        await queue.bind(routing.EVENTS_EXCHANGE, "notification.requested")

        async def overloaded() -> bool:
            try:
                await filling.publish([a_request()])
            except Overloaded:
                return True
            return False

        await eventually(overloaded)
        if not shown:
            # As if readers held all of it.
            await (await (await connection.channel()).get_queue(routing.PROJECTOR_QUEUE, ensure=False)).purge()
        with capture_logs() as logs:
            async with publishing(broker) as publisher:
                for _ in range(50):
                    with pytest.raises(Overloaded):
                        await publisher.publish([a_request()], timeout_s=2 * GRACE_S)
                await queue.purge()
                await publisher.publish([a_request()], timeout_s=2 * GRACE_S)
    events = [line["event"] for line in logs]
    assert events.count("queue_full") == 1
    assert events.count("link_lost") <= (0 if shown else 20)
