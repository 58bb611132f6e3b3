"""Several broker nodes, of which one accepts and answers nothing any more: it is left for another one."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

import psutil
import pytest
from wavecom_common.events import routing
from wavecom_common.messaging import topology
from wavecom_common.messaging.incoming import Incoming
from wavecom_common.messaging.outcome import ACK, Outcome
from wavecom_common.testing.broker import consuming, publishing
from wavecom_common.testing.builders import a_request
from wavecom_common.testing.tcp_proxy import TcpProxy
from wavecom_common.testing.waiting import eventually

from tests.proxied import proxied

# Of README and DESIGN: until nothing is said to be ready that is not, and until everything goes on.
UNREADY_S = 15
GOES_ON_S = 20


@pytest.fixture
async def broker(broker_url: str) -> str:
    await topology.apply(broker_url, topology.plan([100, 1000]), settle_s=0)
    return broker_url


def links_to(proxy: TcpProxy) -> int:
    links = psutil.Process().net_connections("tcp")
    return sum(1 for link in links if link.raddr and link.raddr.port == proxy.port and link.status == "ESTABLISHED")


@pytest.mark.timeout(120)
async def test_a_frozen_node_is_left_for_another_one(broker: str) -> None:
    seen: set[str] = set()

    async def handler(incoming: Incoming) -> Sequence[Outcome]:
        seen.update(event.event_id for event in incoming.events)
        return [ACK] * len(incoming.events)

    async with proxied(broker) as (frozen, url), proxied(broker) as (alive, other_url):
        both = url.replace(f":{frozen.port}/", f":{frozen.port},{urlsplit(other_url).hostname}:{alive.port}/")
        alive.refuse(True)
        async with (
            publishing(both, required=[routing.PROJECTOR_QUEUE]) as publisher,
            consuming(both, handler, publisher, routing.PROJECTOR_QUEUE) as consumer,
        ):
            await eventually(lambda: publisher.ready() is None and consumer.ready() is None)
            alive.refuse(False)
            assert links_to(frozen) == 2
            frozen.blackhole(True)
            event = a_request()
            publishing_it = asyncio.create_task(publisher.publish([event]))
            await eventually(
                lambda: publisher.ready() is not None and consumer.ready() is not None, timeout_s=UNREADY_S
            )
            await asyncio.wait_for(publishing_it, GOES_ON_S)
            await eventually(lambda: (publisher.ready(), consumer.ready()) == (None, None), timeout_s=GOES_ON_S)
            # A link left open would keep its consumer, and what was given to it, with a node that thaws.
            await eventually(lambda: links_to(frozen) == 0, timeout_s=5, what="the end of the old links")
            # To the broker, which is one here, they were alive till now.
            frozen.cut()
            await eventually(lambda: event.event_id in seen, what="its handling")
