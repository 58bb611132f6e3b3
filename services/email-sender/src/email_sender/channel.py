"""E-mail: a deliverable-looking ASCII address, and a subject."""

import re
from typing import Annotated, Final, Literal

import email_validator
from wavecom_common.channels.declaration import Channel, Copy, Cost, LocalProvider
from wavecom_common.channels.request import ChannelRequest
from wavecom_common.channels.text import StringRule, matching, message_of

from email_sender.mail import mail_text

MAX_ADDRESS_CHARACTERS: Final = 254
MAX_MESSAGE_BYTES: Final = 64 * 1024
MAX_SUBJECT_CHARACTERS: Final = 200

_MUST: Final = "must be an e-mail address such as user@example.com"


def _in_any_case(name: str) -> str:
    return "".join(f"[{letter}{letter.upper()}]" for letter in name)


# Names no mail is ever delivered to. `.test` is left in: it is reserved for what its name says (RFC 2606).
_RESERVED: Final = "|".join(
    _in_any_case(name) for name in sorted(email_validator.SPECIAL_USE_DOMAIN_NAMES) if name != "test"
)
_ATOM: Final = r"[A-Za-z0-9_!#$%&'*+\-/=?^`{|}~]+"
# Two letters and two hyphens start a label only in Punycode (RFC 5890).
_LABEL: Final = r"(?!(?![Xx][Nn])[A-Za-z0-9]{2}--)[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?"
_LAST_LABEL: Final = r"(?!(?![Xx][Nn])[A-Za-z0-9]{2}--)(?:[A-Za-z0-9][A-Za-z0-9\-]{0,61})?[A-Za-z]"

# What email-validator accepts of ASCII without quotes, as one expression: it can be published, and it costs 1 µs a
# request where the library takes 40. A property test holds the two together.
ADDRESS_PATTERN: Final = rf"{_ATOM}(?:\.{_ATOM})*@(?!(?:[^@]*\.)?(?:{_RESERVED})$)(?:{_LABEL}\.)+{_LAST_LABEL}"

_is_address = re.compile(ADDRESS_PATTERN).fullmatch


def _address_complaint(value: str) -> str | None:
    if len(value) > MAX_ADDRESS_CHARACTERS or not _is_address(value):
        return _MUST
    # Whether a Punycode label decodes is beyond an expression.
    if "xn--" in value.lower() and not _library_accepts(value):
        return _MUST
    return None


def _library_accepts(value: str) -> bool:
    try:
        email_validator.validate_email(value, check_deliverability=False, test_environment=True)
    except email_validator.EmailNotValidError:
        return False
    return True


EmailAddress = Annotated[
    str,
    StringRule(
        _address_complaint,
        {
            "pattern": f"^{ADDRESS_PATTERN}$",
            "maxLength": MAX_ADDRESS_CHARACTERS,
            "description": (
                "One e-mail address in ASCII, without display name. The domain may be internationalised as Punycode, "
                "whose `xn--` labels must decode."
            ),
            "examples": ["user@example.com"],
        },
    ),
]

# Every character that ends a line somewhere, or is none that can be seen: categories Cc, Zl and Zp.
Subject = Annotated[
    str,
    matching(
        r"[^\u0000-\u001f\u007f-\u009f\u2028\u2029]+",
        max_length=MAX_SUBJECT_CHARACTERS,
        must=f"must be 1 to {MAX_SUBJECT_CHARACTERS} characters without line breaks or other control characters",
        description=f"The subject line: 1 to {MAX_SUBJECT_CHARACTERS} characters, no control characters.",
        example="Order Update",
    ),
]


class EmailNotification(ChannelRequest):
    """A notification by e-mail."""

    channel: Literal["email"]
    recipient: EmailAddress
    message: Annotated[str, message_of(utf8_bytes=MAX_MESSAGE_BYTES)]
    subject: Subject | None = None


CHANNEL: Final = Channel(
    name="email",
    request=EmailNotification,
    example={
        "recipient": "user@example.com",
        "message": "Your order has been shipped!",
        "channel": "email",
        "subject": "Order Update",
        "metadata": {"orderId": "12345", "userId": "user-abc"},
    },
    sandbox="user{}@example.com".format,
    settings="email_sender.settings:EmailSenderSettings",
    # Simulated until the address of a mail server is set: see the overlays.
    environment={"WAVECOM_EMAIL_PROVIDER": "simulated"},
    egress=(25, 465, 587),
    cost=Cost(single_ms=0.285, batch_ms=0.135, call_s=0.35, copy=Copy(per_s=573, cpu_ms=0.43, memory_mb=85)),
    messages_per_copy=55,
    local_provider=LocalProvider(
        module="email_sender.sink",
        environment={
            "WAVECOM_EMAIL_PROVIDER": "smtp",
            "WAVECOM_SMTP_PORT": "{port}",
            "WAVECOM_SMTP_FROM": "notifications@wavecom.example",
        },
        what="mails",
        suffix=".eml",
        text=mail_text,
    ),
)
