"""An API whose link to the broker swallows, refuses or is cut: 503 in time, not ready meanwhile, well again unaided."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

import httpx
import pytest
from ingest_api.accept import CONCLUDE_S
from wavecom_common.events import routing
from wavecom_common.testing.broker import taken
from wavecom_common.testing.tcp_proxy import TcpProxy
from wavecom_common.testing.waiting import eventually

from tests.e2e.stage import BODY, KEY, PATH, Stage, api, withdrawn
from tests.proxied import proxied

ACCEPT_TIMEOUT_S = 1.0
KEYED = BODY | {"message": "Once, whatever happens"}


class Ready:
    """Asks the process whether it is ready."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __call__(self) -> bool:
        async with httpx.AsyncClient(timeout=5) as client:
            return (await client.get(self._url)).is_success


class Clients:
    """Ten that post what is new, and one that repeats its key; what they are answered, and how long that took."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.refused = 0
        self.longest_s = 0.0
        self.accepted: set[str] = set()
        self.accepted_under_key: set[str] = set()

    async def post(self) -> int:
        return await self._post(BODY, {}, self.accepted)

    async def post_under_key(self) -> int:
        return await self._post(KEYED, KEY, self.accepted_under_key)

    @asynccontextmanager
    async def at_it(self) -> AsyncIterator[None]:
        stop = asyncio.Event()

        async def go_on(number: int) -> None:
            while not stop.is_set():
                await (self.post() if number else self.post_under_key())

        clients = [asyncio.create_task(go_on(number)) for number in range(11)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*clients)

    async def _post(self, body: dict[str, str], headers: dict[str, str], accepted: set[str]) -> int:
        begun_s = perf_counter()
        answer = await self._client.post(PATH, json=body, headers=headers)
        self.longest_s = max(self.longest_s, perf_counter() - begun_s)
        if answer.status_code == 201:
            accepted.add(answer.json()["data"]["id"])
        else:
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            self.refused += 1
        return answer.status_code


@asynccontextmanager
async def behind_a_proxy(stage: Stage, port: int, admin_port: int) -> AsyncIterator[tuple[TcpProxy, Clients, Ready]]:
    async with (
        proxied(stage.broker_url) as (proxy, url),
        api(
            stage,
            port,
            WAVECOM_RABBITMQ_URL=url,
            WAVECOM_ACCEPT_TIMEOUT_S=str(ACCEPT_TIMEOUT_S),
            WAVECOM_ADMIN_PORT=str(admin_port),
        ) as (process, client),
    ):
        ready = Ready(f"http://127.0.0.1:{admin_port}/health/ready")
        await eventually(ready)
        clients = Clients(client)
        yield proxy, clients, ready
        assert process.returncode is None
    # Whatever was thrown became an answer.
    assert '"level":"error"' not in (stage.folder / "log").read_text()
    # What is refused is withdrawn before it is answered.
    assert clients.longest_s < ACCEPT_TIMEOUT_S + CONCLUDE_S + 1
    gone = await withdrawn(stage)
    assert not clients.accepted & gone
    assert len(clients.accepted_under_key) == 1
    for queue in (routing.DISPATCHER_QUEUE, routing.PROJECTOR_QUEUE):
        events = await taken(stage.broker_url, queue)
        assert clients.accepted <= {event.notification_id for event in events}
        under_key = {event.notification_id for event in events if event.content.message == KEYED["message"]}
        assert clients.accepted_under_key == under_key - gone


def swallow(proxy: TcpProxy, on: bool) -> None:
    proxy.blackhole(on)


def refuse(proxy: TcpProxy, on: bool) -> None:
    proxy.refuse(on)
    proxy.cut()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("trouble", [swallow, refuse])
async def test_a_link_that_swallows_or_refuses_is_503_in_time_until_it_heals(
    stage: Stage, unused_tcp_port_factory, trouble
) -> None:
    async with behind_a_proxy(stage, unused_tcp_port_factory(), unused_tcp_port_factory()) as (proxy, clients, ready):
        assert await clients.post() == 201
        trouble(proxy, True)
        async with clients.at_it():

            async def unready() -> bool:
                return not await ready()

            # As the README says.
            await eventually(unready, timeout_s=10, what="the end of readiness")
            await eventually(lambda: clients.refused >= 22)
            assert (len(clients.accepted), len(clients.accepted_under_key)) == (1, 0)
            trouble(proxy, False)
            await eventually(ready, timeout_s=40, what="readiness")
            await eventually(lambda: len(clients.accepted) > 20 and clients.accepted_under_key, timeout_s=30)


@pytest.mark.timeout(120)
async def test_a_link_that_is_cut_again_and_again_loses_nothing_that_was_accepted(
    stage: Stage, unused_tcp_port_factory
) -> None:
    async with behind_a_proxy(stage, unused_tcp_port_factory(), unused_tcp_port_factory()) as (proxy, clients, ready):
        async with clients.at_it():
            for _ in range(10):
                before = len(clients.accepted)
                await eventually(proxy.cut, what="a link to cut")
                await eventually(lambda before=before: len(clients.accepted) > before, timeout_s=30)  # type: ignore[misc]
        await eventually(ready, timeout_s=30)
        assert await clients.post() == 201
