"""A pool of SMTP connections, each used for one mail at a time and kept open in between."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import aiosmtplib

# Servers close connections that idle or that sent many mails; better to be the one who does.
MAX_IDLE_S: Final = 30.0
MAX_MAILS: Final = 100


class Connections:
    """At most `count` open connections, made by `connect` when none is idle."""

    def __init__(self, connect: Callable[[], aiosmtplib.SMTP], count: int) -> None:
        self._connect = connect
        self._free = asyncio.Semaphore(count)
        self._idle: list[tuple[aiosmtplib.SMTP, int, float]] = []

    @asynccontextmanager
    async def one(self) -> AsyncIterator[aiosmtplib.SMTP]:
        """A connection that is logged in. It goes back to the pool, unless the body raises: then it is closed.

        Raises:
            aiosmtplib.SMTPException, OSError: no connection; nothing was sent.
        """
        async with self._free:
            client, mails = await self._take()
            try:
                yield client
            except BaseException:
                client.close()
                raise
            await self._give_back(client, mails + 1)

    async def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            client, _, _ = self._idle.pop()
            await _quit(client)

    async def _take(self) -> tuple[aiosmtplib.SMTP, int]:
        now_s = asyncio.get_running_loop().time()
        while self._idle:
            client, mails, since_s = self._idle.pop()
            if client.is_connected and now_s - since_s < MAX_IDLE_S:
                return client, mails
            await _quit(client)
        client = self._connect()
        await client.connect()
        return client, 0

    async def _give_back(self, client: aiosmtplib.SMTP, mails: int) -> None:
        if mails < MAX_MAILS and client.is_connected:
            self._idle.append((client, mails, asyncio.get_running_loop().time()))
        else:
            await _quit(client)


async def _quit(client: aiosmtplib.SMTP) -> None:
    try:
        await client.quit(timeout=2.0)
    except (aiosmtplib.SMTPException, OSError):
        # The server was faster.
        client.close()
