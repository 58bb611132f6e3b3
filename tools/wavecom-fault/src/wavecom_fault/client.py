"""A steady load by clients that behave: each repeats its request, under one key, until it is accepted."""

import asyncio
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import orjson
from wavecom_bench.load import Connection

_ANSWER_S: Final = 15.0
_PAUSE_S: Final = 0.2
_RECIPIENTS: Final = {"email": "user@example.com", "sms": "+15551234567", "push": "device-token-0001"}


@dataclass
class Accepted:
    """Ids in the order of their acceptance, and what the clients went through."""

    ids: list[str] = field(default_factory=list)
    repeats: int = 0


class SteadyLoad:
    """`clients` that post `per_s` notifications a second together, all channels and priorities in turn."""

    def __init__(self, host: str, port: int, *, per_s: float, clients: int) -> None:
        self.accepted = Accepted()
        self._address = (host, port)
        self._period_s = clients / per_s
        self._clients = clients
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(self._clients)]

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

    async def _client(self, number: int) -> None:
        while not self._stop.is_set():
            number += 1
            await self._post_until_accepted(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._period_s):
                    await self._stop.wait()

    async def _post_until_accepted(self, number: int) -> None:
        request = self._request(number)
        while True:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    connection = await Connection.to(*self._address)
                    try:
                        answer = await connection.ask(request)
                    finally:
                        connection.close()
            except (OSError, TimeoutError):
                answer = None
            if answer is not None and answer.status == 201:
                self.accepted.ids.append(orjson.loads(answer.body)["data"]["id"])
                return
            self.accepted.repeats += 1
            await asyncio.sleep(_PAUSE_S)  # noqa: TID251 - a client's pause before it asks again

    def _request(self, number: int) -> bytes:
        channel = ("email", "sms", "push")[number % 3]
        priority = ("high", "medium", "low")[number // 3 % 3]
        body = orjson.dumps(
            {"recipient": _RECIPIENTS[channel], "message": "hello", "channel": channel, "priority": priority}
        )
        lines = [
            "POST /api/notifications HTTP/1.1",
            f"Host: {self._address[0]}",
            "Content-Type: application/json",
            f"Idempotency-Key: {secrets.token_hex(16)}",
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body
