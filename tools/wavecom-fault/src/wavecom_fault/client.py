"""A steady load by clients that behave: each repeats its request, under one key, until it is accepted."""

import asyncio
import random
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import orjson
from wavecom_bench.load import Answer, Connection
from wavecom_common.channels.registry import declared
from wavecom_common.events import routing
from wavecom_common.events.channels import PRIORITIES
from wavecom_common.kernel.clock import SYSTEM_CLOCK

_ANSWER_S: Final = 15.0
_PAUSE_S: Final = 0.2
_CHANNELS: Final = tuple(declared().values())


@dataclass(frozen=True, slots=True)
class Post:
    """One notification to ask for; without a key it is asked for once."""

    queue: str
    recipient: str
    keyed: bool
    request: bytes


@dataclass
class Accepted:
    """What the clients went through.

    Attributes:
        ids: in the order of their acceptance, with the moments, and the senders' queues they go through, at the same
            places of `at_ms` and `queues`.
        refused: recipients of posts that were answered, and not with 201.
        in_doubt: recipients of posts without a key that got no answer: what became of them their client cannot know.
    """

    ids: list[str] = field(default_factory=list)
    at_ms: list[int] = field(default_factory=list)
    queues: list[str] = field(default_factory=list)
    repeats: int = 0
    refused: set[str] = field(default_factory=set)
    in_doubt: set[str] = field(default_factory=set)


class SteadyLoad:
    """`clients` that post `per_s` notifications a second together, all channels and priorities in turn.

    Args:
        host: where the API is.
        port: of its first copy; the others take those that follow.
        per_s: of all clients together.
        clients: each waits for its answer before it goes on.
        copies: of the API; clients turn from one to the next.
        keyed: how many of the posts have a key, from 0 to 1. Those without are not repeated.
    """

    def __init__(
        self, host: str, port: int, *, per_s: float, clients: int, copies: int = 1, keyed: float = 1.0
    ) -> None:
        self.accepted = Accepted()
        self._addresses = [(host, port + copy) for copy in range(copies)]
        self._period_s = clients / per_s
        self._clients = clients
        self._keyed = keyed
        self._numbers = count(1)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._clients)]

    async def stop(self, within_s: float) -> int:
        """Finish the requests begun, each until it is accepted; how many were not, in that time."""
        self._stop.set()
        done, pending = await asyncio.wait(self._tasks, timeout=within_s)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()
        return len(pending)

    async def _client(self) -> None:
        while not self._stop.is_set():
            number = next(self._numbers)
            await self._post_until_accepted(self._post(number), number)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._period_s):
                    await self._stop.wait()

    async def _post_until_accepted(self, post: Post, number: int) -> None:
        for turn in count(number):
            answer = await _ask(self._addresses[turn % len(self._addresses)], post.request)
            if answer is not None and answer.status == 201:
                self.accepted.ids.append(orjson.loads(answer.body)["data"]["id"])
                self.accepted.at_ms.append(SYSTEM_CLOCK.now_ms())
                self.accepted.queues.append(post.queue)
                return
            if answer is not None:
                self.accepted.refused.add(post.recipient)
            if not post.keyed:
                if answer is None:
                    self.accepted.in_doubt.add(post.recipient)
                return
            self.accepted.repeats += 1
            await asyncio.sleep(_PAUSE_S)  # noqa: TID251 - a client's pause before it asks again

    def _post(self, number: int) -> Post:
        channel = _CHANNELS[number % len(_CHANNELS)]
        # Its own, by which the notification is known even if its id never reaches a client.
        recipient = channel.sandbox(number)
        priority = PRIORITIES[number // len(_CHANNELS) % len(PRIORITIES)]
        body = orjson.dumps({"recipient": recipient, "message": "hello", "channel": channel.name, "priority": priority})
        keyed = random.random() < self._keyed
        lines = [
            "POST /api/notifications HTTP/1.1",
            f"Host: {self._addresses[0][0]}",
            "Content-Type: application/json",
            *([f"Idempotency-Key: {secrets.token_hex(16)}"] if keyed else []),
            f"Content-Length: {len(body)}",
        ]
        queue = routing.sender_queue(channel.name, priority)
        return Post(queue, recipient, keyed, "\r\n".join([*lines, "", ""]).encode() + body)


async def _ask(address: tuple[str, int], request: bytes) -> Answer | None:
    """The answer; None when there was none."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            connection = await Connection.to(*address)
            try:
                return await connection.ask(request)
            finally:
                connection.close()
    except (OSError, TimeoutError):
        return None
