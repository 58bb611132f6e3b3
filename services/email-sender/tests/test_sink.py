"""The mail server of the demo."""

import smtplib
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from email_sender.mail import mail_text
from wavecom_stack.ports import free_ports, is_listening
from wavecom_stack.waiting import wait_until


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    port = next(free_ports())
    command = [sys.executable, "-m", "email_sender.sink", "--port", str(port), "--folder", str(tmp_path / "mail")]
    with subprocess.Popen(command) as server:
        wait_until(lambda: None if is_listening(port) else "the sink does not listen yet", timeout_s=30)
        yield port
        server.terminate()


def test_mails_are_kept_one_file_each(port: int, tmp_path: Path) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        for subject in ("First", "Zoë"):
            mail = EmailMessage()
            mail["From"], mail["To"], mail["Subject"] = "a@example.com", "b@example.com", subject
            mail.set_content("Hello Zoë")
            client.send_message(mail)
    kept = [mail_text(path.read_bytes()) for path in sorted((tmp_path / "mail").glob("*.eml"))]
    assert [text.splitlines()[2] for text in kept] == ["Subject: First", "Subject: Zoë"]
    assert kept[0].endswith("\n\nHello Zoë")


def test_a_mail_is_shown_decoded() -> None:
    data = b"Subject: =?utf-8?q?Zo=C3=AB?=\nContent-Type: text/plain; charset=utf-8\n\nHello Zo\xc3\xab\n"
    assert mail_text(data) == "Subject: Zoë\n\nHello Zoë"
