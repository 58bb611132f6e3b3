"""The SMTP provider against a real SMTP server."""

import asyncio
import email
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from aiosmtpd.smtp import SMTP as Server
from aiosmtpd.smtp import Envelope, Session
from email_sender.mail import compose
from email_sender.settings import EmailSenderSettings
from email_sender.smtp import SmtpProvider
from wavecom_common.delivery.port import Attempt
from wavecom_common.events.outcomes import Delivered, PermanentFailure, TransientFailure, UnknownOutcome


class Post:
    """A post office: keeps mail, and answers as told."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.peers: set[object] = set()
        self.rcpt_answer = "250 OK"
        self.data_answer = "250 OK"

    async def handle_RCPT(self, _: Server, __: Session, envelope: Envelope, address: str, ___: object) -> str:
        envelope.rcpt_tos.append(address)
        return self.rcpt_answer

    async def handle_DATA(self, server: Server, session: Session, envelope: Envelope) -> str:
        self.peers.add(session.peer)
        if self.data_answer == "hang up":
            assert server.transport is not None
            server.transport.abort()
            return "421 never seen"
        assert isinstance(envelope.content, bytes)
        self.mails.append(email.message_from_bytes(envelope.content, policy=SMTP))
        return self.data_answer


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
async def provider(post: Post) -> AsyncIterator[SmtpProvider]:
    server = await asyncio.get_running_loop().create_server(lambda: Server(post), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = EmailSenderSettings(smtp_port=port, smtp_from="no-reply@wavecom.example", provider_timeout_s=5)
    provider = SmtpProvider(settings)
    yield provider
    await provider.close()
    server.close()
    await server.wait_closed()


def an_attempt(
    recipient: str = "ada@example.com", subject: str | None = "Grüße", message: str = "Schöne Welt ✓\n"
) -> Attempt:
    return Attempt("65f0c0ffee65f0c0ffee65f0", 1, "65f0c0ffee65f0c0ffee65f0:1", recipient, message, subject)


async def test_a_mail_arrives_with_its_text_its_subject_and_a_stable_message_id(
    provider: SmtpProvider, post: Post
) -> None:
    assert await provider.deliver(an_attempt()) == Delivered("<65f0c0ffee65f0c0ffee65f0@wavecom.example>")
    [mail] = post.mails
    assert mail["To"] == "ada@example.com"
    assert mail["From"] == "no-reply@wavecom.example"
    assert mail["Subject"] == "Grüße"
    assert mail["Message-ID"] == "<65f0c0ffee65f0c0ffee65f0@wavecom.example>"
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().replace("\r\n", "\n") == "Schöne Welt ✓\n"


async def test_connections_are_used_again(provider: SmtpProvider, post: Post) -> None:
    for _ in range(5):
        assert isinstance(await provider.deliver(an_attempt()), Delivered)
    assert len(post.peers) == 1


async def test_many_mails_at_once_share_a_few_connections(provider: SmtpProvider, post: Post) -> None:
    await asyncio.gather(*[provider.deliver(an_attempt(f"user{n}@example.com")) for n in range(50)])
    assert len(post.mails) == 50
    assert len(post.peers) <= 8


async def test_an_unknown_recipient_is_a_permanent_failure_and_the_connection_goes_on(
    provider: SmtpProvider, post: Post
) -> None:
    post.rcpt_answer = "550 5.1.1 no such user"
    assert await provider.deliver(an_attempt()) == PermanentFailure("SMTP 550 5.1.1")
    post.rcpt_answer = "250 OK"
    assert isinstance(await provider.deliver(an_attempt()), Delivered)


async def test_a_busy_server_is_a_transient_failure(provider: SmtpProvider, post: Post) -> None:
    post.data_answer = "451 4.3.0 try again"
    assert await provider.deliver(an_attempt()) == TransientFailure("SMTP 451 4.3.0")


async def test_a_link_that_breaks_before_the_answer_leaves_the_outcome_unknown(
    provider: SmtpProvider, post: Post
) -> None:
    post.data_answer = "hang up"
    assert isinstance(await provider.deliver(an_attempt()), UnknownOutcome)


async def test_no_server_is_a_transient_failure() -> None:
    provider = SmtpProvider(EmailSenderSettings(smtp_port=1))
    outcome = await provider.deliver(an_attempt())
    assert isinstance(outcome, TransientFailure)
    await provider.close()


@pytest.mark.parametrize("subject", ["two\r\nlines", "next\u0085line"])
async def test_a_subject_with_a_line_break_never_becomes_a_header(
    provider: SmtpProvider, post: Post, subject: str
) -> None:
    assert isinstance(await provider.deliver(an_attempt(subject=subject)), PermanentFailure)
    assert post.mails == []


def test_a_line_that_looks_like_the_end_of_the_mail_stays_text() -> None:
    mail = compose(an_attempt(message="one\n.\nQUIT\n"), sender="a@b.example", at=datetime(2026, 1, 1, tzinfo=UTC))
    assert email.message_from_bytes(mail.as_bytes(), policy=SMTP).get_content().splitlines() == ["one", ".", "QUIT"]
