"""Delivering mail over SMTP."""

from datetime import UTC, datetime
from email.message import EmailMessage

import aiosmtplib
from wavecom_common.delivery.port import Attempt
from wavecom_common.events.outcomes import (
    Delivered,
    DeliveryOutcome,
    PermanentFailure,
    TransientFailure,
    UnknownOutcome,
)
from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock

from email_sender.classify import classify
from email_sender.connections import Connections
from email_sender.mail import compose
from email_sender.settings import EmailSenderSettings


class SmtpProvider:
    """An adapter that hands mail to one SMTP server over connections it keeps open."""

    name = "smtp"

    def __init__(self, settings: EmailSenderSettings, clock: Clock = SYSTEM_CLOCK) -> None:
        self._from = settings.smtp_from
        self._clock = clock
        self._connections = Connections(lambda: _client(settings), settings.smtp_connections)

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        """Send one mail to one recipient."""
        at = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        try:
            mail = compose(attempt, sender=self._from, at=at)
        except ValueError:
            return PermanentFailure("the mail cannot be composed: an address or the subject is not valid")
        return await self._send(attempt.recipient, mail)

    async def _send(self, recipient: str, mail: EmailMessage) -> DeliveryOutcome:
        handed_over = False
        try:
            async with self._connections.one() as client:
                try:
                    await client.mail(self._from)
                    await client.rcpt(recipient)
                    # From here on the server may have taken the mail although we never hear of it.
                    handed_over = True
                    await client.data(mail.as_bytes())
                except aiosmtplib.SMTPResponseException as reply:
                    if client.is_connected:
                        await client.rset()
                    return classify(reply.code, reply.message)
        except (aiosmtplib.SMTPException, OSError) as error:
            if handed_over:
                return UnknownOutcome(f"the SMTP link broke: {type(error).__name__}")
            return TransientFailure(f"no SMTP connection: {type(error).__name__}")
        return Delivered(mail["Message-ID"])

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()


def _client(settings: EmailSenderSettings) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(
        hostname=settings.smtp_host,
        port=settings.smtp_port,
        username=settings.smtp_username,
        password=settings.smtp_password.get_secret_value() if settings.smtp_password else None,
        use_tls=settings.smtp_tls == "tls",
        start_tls=settings.smtp_tls == "starttls",
        timeout=settings.provider_timeout_s,
    )
