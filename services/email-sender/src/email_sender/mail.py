"""A notification as a mail, and a mail as a person reads it. Pure."""

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from wavecom_common.delivery.port import Attempt

# 8-bit text travels as quoted-printable or base64: every server takes that.
_POLICY = SMTP.clone(cte_type="7bit")
_NO_SUBJECT = "Notification"
_SHOWN_HEADERS = ("From", "To", "Subject", "Date", "Message-ID")


def compose(attempt: Attempt, *, sender: str, at: datetime) -> EmailMessage:
    """Plain text in UTF-8.

    The Message-ID is made of the notification's id: the same for every attempt, so that a receiver that gets the mail
    twice can tell.

    Raises:
        ValueError: a line break in the subject or an address that is none. Not retryable.
    """
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = Address(addr_spec=sender)
    mail["To"] = Address(addr_spec=attempt.recipient)
    mail["Subject"] = attempt.subject or _NO_SUBJECT
    mail["Date"] = format_datetime(at.astimezone(UTC))
    mail["Message-ID"] = f"<{attempt.notification_id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(attempt.message)
    return mail


def mail_text(data: bytes) -> str:
    """The headers a reader looks at, and the text."""
    mail = message_from_bytes(data, _class=EmailMessage, policy=policy.default)
    headers = [f"{name}: {mail[name]}" for name in _SHOWN_HEADERS if mail[name] is not None]
    return "\n".join([*headers, "", mail.get_content().rstrip()])
