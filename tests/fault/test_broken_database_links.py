"""The storage classes behind a network that is slow, swallows and cuts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import pytest
from status_projector.model import projection
from status_projector.model.read_model import ReadModel
from status_projector.store.event_store import EventStore
from wavecom_common.delivery.ledger import Ledger
from wavecom_common.events.outcomes import Delivered
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.kernel.retrying import until_available
from wavecom_common.storage import indexes
from wavecom_common.storage.client import Database
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_common.testing.tcp_proxy import TcpProxy
from wavecom_common.testing.waiting import eventually
from wavecom_proto.v1.events_pb2 import Event


@asynccontextmanager
async def proxied(url: str, name: str, *, timeout_s: float = 10.0) -> AsyncIterator[tuple[TcpProxy, Database]]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with TcpProxy(parts.hostname, parts.port) as proxy:
        near = urlunsplit(parts._replace(netloc=f"127.0.0.1:{proxy.port}"))
        database = Database(near, name, operation_timeout_s=timeout_s)
        await database.start()
        await indexes.apply(database)
        try:
            yield proxy, database
        finally:
            proxy.blackhole(False)
            await database.close()


async def test_a_slow_database_slows_and_breaks_nothing(mongodb_url: str, database_name: str) -> None:
    async with proxied(mongodb_url, database_name) as (proxy, database):
        proxy.delay_s = 0.15
        ledger = Ledger(database, owner="a")
        keys = [f"n{number}:1" for number in range(200)]
        assert set(await asyncio.gather(*[ledger.claim(key) for key in keys])) == {None}
        settled = await asyncio.gather(*[ledger.settle(key, Delivered("x"), 1) for key in keys])
        assert all(claim.outcome == Delivered("x") for claim in settled)


async def test_a_database_that_swallows_everything_is_unavailable_in_time_and_unready_and_comes_back(
    mongodb_url: str, database_name: str
) -> None:
    async with proxied(mongodb_url, database_name, timeout_s=1.0) as (proxy, database):
        await eventually(lambda: database.ready() is None)
        ledger = Ledger(database, owner="a")
        proxy.blackhole(True)
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable):
                await ledger.claim("n:1")
        await eventually(lambda: database.ready() is not None)
        proxy.blackhole(False)
        await eventually(lambda: database.ready() is None, timeout_s=30)
        found = await ledger.claim("n:1")
        assert found is None or found.owner == "a"


async def test_links_cut_in_the_middle_of_bulk_writes_lose_nothing_and_double_nothing(
    mongodb_url: str, database_name: str
) -> None:
    async with proxied(mongodb_url, database_name) as (proxy, database):
        store, model = EventStore(database), ReadModel(database)
        never = asyncio.Event()
        written: list[Event] = []
        cuts = 0

        async def write() -> None:
            while cuts < 10:
                requests = [a_request() for _ in range(100)]
                events = [*requests, *(a_dispatch(request=request) for request in requests)]
                await until_available(lambda e=events: store.append(e), stop=never, tell=lambda _: None)  # type: ignore[misc]
                told = projection.fold(events)
                await until_available(lambda t=told: model.merge(t), stop=never, tell=lambda _: None)  # type: ignore[misc]
                written.extend(events)

        writing = asyncio.create_task(write())

        def cut() -> bool:
            nonlocal cuts
            if cuts < 10:
                cuts += proxy.cut() > 0
            return writing.done()

        await eventually(cut, timeout_s=60, what="the writes")
        await writing
        stored = [event async for event in store.stream()]
        assert sorted(event.event_id for event in stored) == sorted(event.event_id for event in written)
        assert {one: facts async for one, facts in model.stream()} == projection.fold(stored)
