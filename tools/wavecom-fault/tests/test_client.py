"""A client repeats its post under one key until it is accepted, also when the load has ended meanwhile."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from wavecom_common.testing.waiting import eventually
from wavecom_fault.client import SteadyLoad


class Api:
    """Takes a key's first posts without an answer, or with a refusal; accepts the one after, if it does at all."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.posts = 0
        self.accepts = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.posts += 1
        head = await reader.readuntil(b"\r\n\r\n")
        self.keys += [line.split()[1] for line in head.split(b"\r\n") if line.startswith(b"Idempotency-Key:")]
        if self.accepts.is_set():
            body = b'{"data":{"id":"%s"}}' % self.keys[-1]
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        elif self.posts % 2:
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        writer.close()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = Api()
    server = await asyncio.start_server(api.serve, "127.0.0.1", 0)
    api.port = server.sockets[0].getsockname()[1]
    yield api
    server.close()


async def test_a_post_unanswered_at_the_end_is_repeated_under_its_key_until_it_is_accepted(api: Api) -> None:
    load = SteadyLoad("127.0.0.1", api.port, per_s=10, clients=1)
    load.start()
    await eventually(lambda: len(api.keys) > 1)
    stopping = asyncio.create_task(load.stop(within_s=20))
    await eventually(lambda: len(api.keys) > 3)
    api.accepts.set()
    assert await stopping == 0
    assert [load.accepted.ids[0].encode()] == list(set(api.keys))
    assert load.accepted.repeats == len(api.keys) - 1


async def test_a_post_that_is_never_accepted_is_told(api: Api) -> None:
    load = SteadyLoad("127.0.0.1", api.port, per_s=10, clients=3)
    load.start()
    await eventually(lambda: len(api.keys) > 3)
    assert await load.stop(within_s=0.1) == 3
    assert load.accepted.ids == []


async def test_a_post_without_a_key_is_asked_once_and_refused_or_in_doubt(api: Api) -> None:
    load = SteadyLoad("127.0.0.1", api.port, per_s=100, clients=1, keyed=0)
    load.start()
    await eventually(lambda: load.accepted.refused and load.accepted.in_doubt)
    assert await load.stop(within_s=5) == 0
    assert api.keys == []
    assert load.accepted.repeats == 0
    # One post each, and each of another recipient.
    assert len(load.accepted.refused | load.accepted.in_doubt) == api.posts


async def test_clients_turn_to_the_next_copy_at_each_try(api: Api) -> None:
    other = Api()
    other.accepts.set()
    server = await asyncio.start_server(other.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    load = SteadyLoad("127.0.0.1", port - 1, per_s=10, clients=1, copies=2)
    load.start()
    await eventually(lambda: load.accepted.ids)
    await load.stop(within_s=5)
    server.close()
    assert len(other.keys) == len(load.accepted.ids) == len(load.accepted.queues) == len(load.accepted.at_ms)
