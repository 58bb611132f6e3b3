"""Delivering mail over SMTP: connections that are ready before a mail is begun, and kept open in between."""

import asyncio
import socket
import ssl
from typing import Final

import aiosmtplib
from wavecom_common.delivery.port import NotReady
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock

from email_sender.connections import SmtpConnection
from email_sender.settings import EmailSenderSettings

# Servers close connections that idle or that sent many mails; better to be the one who does.
MAX_IDLE_S: Final = 30.0
MAX_MAILS: Final = 100


class SmtpProvider:
    """An adapter that hands mail to one SMTP server; see `wavecom_common.delivery.port.ConnectedAdapter`."""

    name = "smtp"

    def __init__(self, settings: EmailSenderSettings, clock: Clock = SYSTEM_CLOCK) -> None:
        self.capacity = settings.smtp_connections
        self._settings = settings
        self._clock = clock
        self._idle: list[SmtpConnection] = []
        self._lent: set[SmtpConnection] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    async def ready(self) -> SmtpConnection:
        """A connection that is logged in: one that idled, or a new one.

        Raises:
            NotReady: the server cannot be reached, or does not want us.
        """
        connection = await self._idling() or await self._connect()
        self._lent.add(connection)
        return connection

    async def close(self) -> None:
        """Take leave of the server on what idles, and close the rest."""
        for connection in self._lent:
            connection.close()
        for connection in self._idle:
            self._quit(connection)
        self._idle.clear()
        if self._leaving:
            await asyncio.wait(self._leaving)

    def _take_back(self, connection: SmtpConnection) -> None:
        """Keep it open for the next mail. One that broke is closed, and what idles beside it: that is no younger."""
        self._lent.discard(connection)
        if not connection.usable:
            for one in [connection, *self._idle]:
                one.close()
            self._idle.clear()
        elif connection.mails >= MAX_MAILS:
            self._quit(connection)
        else:
            connection.idle_since_s = asyncio.get_running_loop().time()
            self._idle.append(connection)

    async def _idling(self) -> SmtpConnection | None:
        now_s = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if not connection.usable or now_s - connection.idle_since_s > MAX_IDLE_S:
                self._quit(connection)
                continue
            try:
                await connection.refresh()
            except (aiosmtplib.SMTPException, OSError):
                connection.close()
            else:
                return connection
        return None

    async def _connect(self) -> SmtpConnection:
        client = _client(self._settings)
        try:
            await client.connect()
            if client.is_ehlo_or_helo_needed:
                await _greet(client)
        except (aiosmtplib.SMTPException, OSError) as error:
            client.close()
            raise _not_ready(error) from None
        except asyncio.CancelledError:
            client.close()
            raise
        return SmtpConnection(client, sender=self._settings.smtp_from, clock=self._clock, give_back=self._take_back)

    def _quit(self, connection: SmtpConnection) -> None:
        task = asyncio.get_running_loop().create_task(connection.quit())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


async def _greet(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        await client.helo()


def _not_ready(error: Exception) -> NotReady:
    """Codes only: a server's text may repeat a name."""
    match error:
        case aiosmtplib.SMTPAuthenticationError(code=code):
            return NotReady("login", f"SMTP {code}")
        case aiosmtplib.SMTPResponseException(code=code):
            return NotReady("greeting", f"SMTP {code}")
        case aiosmtplib.SMTPTimeoutError() | TimeoutError():
            return NotReady("timeout")
        case aiosmtplib.SMTPServerDisconnected():
            return NotReady("broken")
    match error.__cause__ or error:
        case socket.gaierror():
            return NotReady("dns")
        case ssl.SSLError() as wrong:
            return NotReady("tls", wrong.reason or "")
        case ConnectionRefusedError():
            return NotReady("refused")
        case OSError() as wrong:
            return NotReady("broken", type(wrong).__name__)
    # All that is left are the library's own words for what the server does not offer.
    return NotReady("login" if "AUTH" in str(error) else "tls", "not offered")


def _client(settings: EmailSenderSettings) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(
        hostname=settings.smtp_host,
        port=settings.smtp_port,
        username=settings.smtp_username,
        password=settings.smtp_password.get_secret_value() if settings.smtp_password else None,
        use_tls=settings.smtp_tls == "tls",
        start_tls=settings.smtp_tls == "starttls",
        cert_bundle=settings.tls_ca_file,
        client_cert=settings.tls_cert_file,
        timeout=settings.provider_timeout_s,
    )
