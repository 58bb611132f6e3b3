"""A mail server that is slow, away, or rude on demand."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes

from aiosmtpd.smtp import SMTP, Envelope, Session
from wavecom_common.kernel.clock import SYSTEM_CLOCK


class MailServer:
    """Counts the mails it took, by `Message-ID`; it takes `seconds` for each."""

    def __init__(self) -> None:
        self.seconds = 0.0
        # A connection ends at the next MAIL FROM after so many mails, with this answer or without a word.
        self.ends_after = 1_000_000
        self.ends_with = ""
        self.mails: Counter[str] = Counter()
        self.connections = 0
        self.transports: set[asyncio.BaseTransport] = set()
        self.port = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen, on the port it had before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Take no new connections, and cut those there are."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """End every connection without a word."""
        for transport in list(self.transports):
            transport.abort()  # type: ignore[attr-defined]


class _Connection(SMTP):
    def __init__(self, office: MailServer) -> None:
        super().__init__(_Handler(office), loop=asyncio.get_running_loop())
        self._office = office

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._office.transports.add(transport)
        self._office.connections += 1
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self.transport is not None:
            self._office.transports.discard(self.transport)
        super().connection_lost(error)


class _Handler:
    def __init__(self, office: MailServer) -> None:
        self._office = office
        self._mails = 0

    async def handle_MAIL(self, server: SMTP, _: Session, envelope: Envelope, sender: str, __: object) -> str:
        envelope.mail_from = sender
        if self._mails < self._office.ends_after:
            return "250 OK"
        assert server.transport is not None
        if self._office.ends_with:
            asyncio.get_running_loop().call_soon(server.transport.close)
        else:
            server.transport.abort()
        return self._office.ends_with

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:
        await SYSTEM_CLOCK.sleep(self._office.seconds)
        assert isinstance(envelope.content, bytes)
        self._mails += 1
        self._office.mails[message_from_bytes(envelope.content)["Message-ID"]] += 1
        return "250 OK"


@asynccontextmanager
async def mail_server() -> AsyncIterator[MailServer]:
    """A mail server of the test's own, on a free port."""
    server = MailServer()
    await server.open()
    try:
        yield server
    finally:
        await server.refuse()
