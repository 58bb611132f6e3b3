"""The SMTP provider against a real SMTP server."""

import asyncio
import email
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP

import aiosmtplib
import pytest
from aiosmtpd.smtp import SMTP as Server
from aiosmtpd.smtp import Envelope, Session
from email_sender.mail import compose
from email_sender.settings import EmailSenderSettings
from email_sender.smtp import SmtpProvider
from wavecom_common.delivery.port import Attempt, NotReady
from wavecom_common.events.outcomes import (
    Delivered,
    DeliveryOutcome,
    PermanentFailure,
    TransientFailure,
    UnknownOutcome,
)
from wavecom_common.testing.waiting import eventually


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
async def server(post: Post) -> AsyncIterator[int]:
    """The post office's port."""
    server = await asyncio.get_running_loop().create_server(lambda: Server(post), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


@pytest.fixture
async def provider(server: int) -> AsyncIterator[SmtpProvider]:
    settings = EmailSenderSettings(smtp_port=server, smtp_from="no-reply@wavecom.example", provider_timeout_s=5)
    provider = SmtpProvider(settings)
    yield provider
    await provider.close()


class Scripted:
    """A server that speaks as it is told: an answer by the command, None for a link that breaks at it."""

    def __init__(self) -> None:
        self.port = 0
        self.greeting = "220 hello"
        self.answers: dict[str, str | None] = {}
        self.commands: list[str] = []
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []

    def cut(self) -> None:
        """End every connection without a word."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        usual = {"EHLO": "250 hello", "DATA": "354 go on", "QUIT": "221 bye"}
        in_text = False
        writer.write(f"{self.greeting}\r\n".encode())
        async for raw in reader:
            line = raw.decode().rstrip("\r\n")
            if in_text and line != ".":
                continue
            command = "." if in_text else line.partition(" ")[0]
            self.commands.append(command)
            answer = self.answers.get(command, usual.get(command, "250 OK"))
            if answer is None:
                writer.transport.abort()
                return
            writer.write(f"{answer}\r\n".encode())
            in_text = command == "DATA" and answer.startswith("354")
        writer.close()


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    scripted = Scripted()
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.port = server.sockets[0].getsockname()[1]
    yield scripted
    scripted.cut()
    server.close()


async def deliver(provider: SmtpProvider, attempt: Attempt) -> DeliveryOutcome:
    """One mail over a connection that is ready."""
    connection = await provider.ready()
    try:
        return await connection.deliver(attempt)
    finally:
        connection.give_back()


def an_attempt(
    recipient: str = "ada@example.com", subject: str | None = "Grüße", message: str = "Schöne Welt ✓\n"
) -> Attempt:
    return Attempt("65f0c0ffee65f0c0ffee65f0", 1, "65f0c0ffee65f0c0ffee65f0:1", recipient, message, subject)


async def test_a_mail_arrives_with_its_text_its_subject_and_a_stable_message_id(
    provider: SmtpProvider, post: Post
) -> None:
    assert await deliver(provider, an_attempt()) == Delivered("<65f0c0ffee65f0c0ffee65f0@wavecom.example>")
    [mail] = post.mails
    assert mail["To"] == "ada@example.com"
    assert mail["From"] == "no-reply@wavecom.example"
    assert mail["Subject"] == "Grüße"
    assert mail["Message-ID"] == "<65f0c0ffee65f0c0ffee65f0@wavecom.example>"
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().replace("\r\n", "\n") == "Schöne Welt ✓\n"


async def test_connections_are_used_again(provider: SmtpProvider, post: Post) -> None:
    for _ in range(5):
        assert isinstance(await deliver(provider, an_attempt()), Delivered)
    assert len(post.peers) == 1


async def test_an_unknown_recipient_is_a_permanent_failure_and_the_connection_goes_on(
    provider: SmtpProvider, post: Post
) -> None:
    post.rcpt_answer = "550 5.1.1 no such user"
    assert await deliver(provider, an_attempt()) == PermanentFailure("SMTP 550 5.1.1")
    post.rcpt_answer = "250 OK"
    assert isinstance(await deliver(provider, an_attempt()), Delivered)


async def test_a_busy_server_is_a_transient_failure(provider: SmtpProvider, post: Post) -> None:
    post.data_answer = "451 4.3.0 try again"
    assert await deliver(provider, an_attempt()) == TransientFailure("SMTP 451 4.3.0")


async def test_a_link_that_breaks_before_the_answer_leaves_the_outcome_unknown(
    provider: SmtpProvider, post: Post
) -> None:
    post.data_answer = "hang up"
    assert isinstance(await deliver(provider, an_attempt()), UnknownOutcome)


async def test_no_server_is_told_before_anything_is_called() -> None:
    provider = SmtpProvider(EmailSenderSettings(smtp_port=1))
    with pytest.raises(NotReady) as error:
        await provider.ready()
    assert error.value.cause == "refused"
    await provider.close()


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"smtp_host": "nowhere.invalid"}, "dns"),
        ({"smtp_tls": "starttls"}, "tls"),
        ({"smtp_tls": "tls"}, "tls"),
        ({"smtp_username": "ada", "smtp_password": "wrong"}, "login"),
    ],
)
async def test_why_there_is_no_connection_is_told_in_a_word(server: int, settings: dict[str, str], cause: str) -> None:
    provider = SmtpProvider(EmailSenderSettings(smtp_port=server, provider_timeout_s=5, **settings))  # type: ignore[arg-type]
    with pytest.raises(NotReady) as error:
        await provider.ready()
    assert error.value.cause == cause
    assert "ada" not in str(error.value)
    await provider.close()


async def test_a_refused_login_and_a_greeting_that_is_none_are_told_with_their_code(scripted: Scripted) -> None:
    provider = SmtpProvider(EmailSenderSettings(smtp_port=scripted.port, smtp_username="ada", smtp_password="wrong"))  # type: ignore[arg-type]
    scripted.answers = {"EHLO": "250-hello\r\n250 AUTH PLAIN", "AUTH": "535 5.7.8 ada is not welcome"}
    with pytest.raises(NotReady, match=r"login SMTP 535$"):
        await provider.ready()
    scripted.greeting = "554 no service for you"
    with pytest.raises(NotReady, match=r"greeting SMTP 554$"):
        await provider.ready()
    await provider.close()


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("answer", [None, "421 4.3.2 closing", "nonsense"])
async def test_a_link_that_breaks_before_the_text_is_sent_has_handed_over_nothing(
    scripted: Scripted, step: str, answer: str | None
) -> None:
    provider = SmtpProvider(EmailSenderSettings(smtp_port=scripted.port))
    scripted.answers = {step: answer}
    connection = await provider.ready()
    with pytest.raises((aiosmtplib.SMTPException, OSError)):
        await connection.deliver(an_attempt())
    assert (connection.handed_over, connection.usable) == (False, False)
    connection.give_back()
    # The next mail gets another connection.
    scripted.answers = {}
    assert isinstance(await deliver(provider, an_attempt()), Delivered)
    await provider.close()


@pytest.mark.parametrize("answer", [None, "nonsense"])
async def test_an_answer_to_the_text_that_is_none_leaves_the_outcome_unknown(
    scripted: Scripted, answer: str | None
) -> None:
    provider = SmtpProvider(EmailSenderSettings(smtp_port=scripted.port))
    scripted.answers = {".": answer}
    connection = await provider.ready()
    assert isinstance(await connection.deliver(an_attempt()), UnknownOutcome)
    assert (connection.handed_over, connection.usable) == (True, False)
    connection.give_back()
    await provider.close()


async def test_the_text_waits_for_the_servers_word_and_a_refusal_of_it_is_an_answer(scripted: Scripted) -> None:
    provider = SmtpProvider(EmailSenderSettings(smtp_port=scripted.port))
    scripted.answers = {"DATA": "452 4.3.1 no room"}
    assert await deliver(provider, an_attempt()) == TransientFailure("SMTP 452 4.3.1")
    # The same connection, made as new.
    scripted.answers = {".": "421 4.3.2 closing"}
    assert await deliver(provider, an_attempt()) == TransientFailure("SMTP 421 4.3.2")
    assert "RSET" in scripted.commands
    assert scripted.connections == 1
    await provider.close()


async def test_a_connection_that_the_server_closed_while_it_idled_is_not_used(scripted: Scripted) -> None:
    provider = SmtpProvider(EmailSenderSettings(smtp_port=scripted.port))
    connection = await provider.ready()
    connection.give_back()
    scripted.cut()
    await eventually(lambda: not connection.usable)
    assert isinstance(await deliver(provider, an_attempt()), Delivered)
    assert scripted.connections == 2
    await provider.close()


async def test_a_connection_that_breaks_takes_those_that_idle_with_it(scripted: Scripted) -> None:
    provider = SmtpProvider(EmailSenderSettings(smtp_port=scripted.port))
    first, second = await provider.ready(), await provider.ready()
    second.give_back()
    scripted.answers = {"MAIL": None}
    with pytest.raises(aiosmtplib.SMTPException):
        await first.deliver(an_attempt())
    first.give_back()
    assert not second.usable
    assert await provider.ready() is not second
    await provider.close()


async def test_lines_that_begin_with_a_dot_arrive_as_they_are(provider: SmtpProvider, post: Post) -> None:
    text = ".\n..\n.one\nend.\n"
    assert isinstance(await deliver(provider, an_attempt(message=text)), Delivered)
    assert post.mails[0].get_content().replace("\r\n", "\n") == text


@pytest.mark.parametrize("subject", ["two\r\nlines", "next\u0085line"])
async def test_a_subject_with_a_line_break_never_becomes_a_header(
    provider: SmtpProvider, post: Post, subject: str
) -> None:
    assert isinstance(await deliver(provider, an_attempt(subject=subject)), PermanentFailure)
    assert post.mails == []


def test_a_line_that_looks_like_the_end_of_the_mail_stays_text() -> None:
    mail = compose(an_attempt(message="one\n.\nQUIT\n"), sender="a@b.example", at=datetime(2026, 1, 1, tzinfo=UTC))
    assert email.message_from_bytes(mail.as_bytes(), policy=SMTP).get_content().splitlines() == ["one", ".", "QUIT"]
