"""One SMTP connection: how it hands over a mail, and from when on the mail may have arrived."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import aiosmtplib
from wavecom_common.delivery.port import Attempt
from wavecom_common.events.outcomes import Delivered, DeliveryOutcome, PermanentFailure, UnknownOutcome
from wavecom_common.kernel.clock import Clock

from email_sender.classify import classify
from email_sender.mail import compose

_OK: Final = 250
_START_INPUT: Final = 354
_CLOSING: Final = 421
# What stands for a reply that is none.
_MALFORMED: Final = -1
_LEADING_DOT: Final = re.compile(rb"^\.", re.MULTILINE)


class SmtpConnection:
    """A connection that is logged in; it takes one mail at a time."""

    def __init__(
        self,
        client: aiosmtplib.SMTP,
        *,
        sender: str,
        clock: Clock,
        give_back: Callable[["SmtpConnection"], None],
    ) -> None:
        self.handed_over = False
        self.mails = 0
        self.idle_since_s = 0.0
        self._client = client
        self._sender = sender
        self._clock = clock
        self._give_back = give_back
        self._midway = False
        self._needs_reset = False

    @property
    def usable(self) -> bool:
        """Whether another mail can be sent over it, as far as is known here."""
        return self._client.is_connected and not self._midway

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        """Send one mail to one recipient.

        Raises:
            aiosmtplib.SMTPException, OSError: it broke, or the server closes it, before the text was handed over.
        """
        self.handed_over, self._midway = False, True
        outcome = await self._send(attempt)
        # A link that broke may bring a late reply to the next mail.
        self._midway = isinstance(outcome, UnknownOutcome)
        return outcome

    async def refresh(self) -> None:
        """Make it as new after a refusal.

        Raises:
            aiosmtplib.SMTPException, OSError: it is broken.
        """
        if self._needs_reset:
            await self._client.rset()
            self._needs_reset = False

    def give_back(self) -> None:
        """Return it to the provider that lent it."""
        self._give_back(self)

    async def quit(self) -> None:
        """Take leave of the server, for two seconds at most, and close it."""
        try:
            await self._client.quit(timeout=2.0)
        except (aiosmtplib.SMTPException, OSError):
            # The server was faster.
            pass
        finally:
            self._client.close()

    def close(self) -> None:
        """Close it without a word."""
        self._client.close()

    async def _send(self, attempt: Attempt) -> DeliveryOutcome:
        at = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        self.mails += 1
        try:
            mail = compose(attempt, sender=self._sender, at=at)
            await self._client.mail(self._sender)
            await self._client.rcpt(attempt.recipient)
            await self._data(mail.as_bytes())
        except aiosmtplib.SMTPResponseException as reply:
            self._needs_reset = True
            return self._refused(reply)
        except (aiosmtplib.SMTPException, OSError) as error:
            if not self.handed_over:
                raise
            return UnknownOutcome(f"the SMTP link broke: {type(error).__name__}")
        except ValueError:
            self._needs_reset = True
            return PermanentFailure("the mail cannot be composed: an address or the subject is not valid")
        return Delivered(mail["Message-ID"])

    def _refused(self, reply: aiosmtplib.SMTPResponseException) -> DeliveryOutcome:
        if reply.code in (_CLOSING, _MALFORMED) and not self.handed_over:
            # It says nothing about this mail: the server ends the connection, or speaks something else.
            raise reply
        if reply.code == _MALFORMED:
            return UnknownOutcome("the SMTP server's answer cannot be read")
        return classify(reply.code, reply.message)

    async def _data(self, mail: bytes) -> None:
        """Hand over the text. The library's own `data` does not show whether it went out before the link broke."""
        reply = await self._client.execute_command(b"DATA")
        protocol = self._client.protocol
        if reply.code != _START_INPUT or protocol is None:
            raise aiosmtplib.SMTPDataError(reply.code, reply.message)
        # From here on the server may have taken the mail although its answer never comes.
        self.handed_over = True
        protocol.write(_LEADING_DOT.sub(b"..", mail) + b".\r\n")
        reply = await protocol.read_response(timeout=self._client.timeout)
        if reply.code != _OK:
            raise aiosmtplib.SMTPDataError(reply.code, reply.message)
