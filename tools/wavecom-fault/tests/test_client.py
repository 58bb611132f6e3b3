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
        self.accepts = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.keys += [line.split()[1] for line in head.split(b"\r\n") if line.startswith(b"Idempotency-Key:")]
        if self.accepts.is_set():
            body = b'{"data":{"id":"%s"}}' % self.keys[-1]
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        elif len(self.keys) % 2:
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
