import pytest
from email_sender.classify import classify
from wavecom_common.events.outcomes import PermanentFailure, TransientFailure


@pytest.mark.parametrize(
    ("code", "text", "error"),
    [
        (550, "5.1.1 no such user ada@example.com", "SMTP 550 5.1.1"),
        (551, "user not local", "SMTP 551"),
        (552, "5.2.3 message too long", "SMTP 552 5.2.3"),
        (554, "5.6.0 content refused", "SMTP 554 5.6.0"),
        (450, "5.1.1 code and text disagree: the text is more precise", "SMTP 450 5.1.1"),
    ],
)
def test_a_refused_recipient_or_message_is_permanent(code: int, text: str, error: str) -> None:
    assert classify(code, text) == PermanentFailure(error)


@pytest.mark.parametrize(
    ("code", "text", "error"),
    [
        (421, "4.3.2 shutting down", "SMTP 421 4.3.2"),
        (450, "greylisted", "SMTP 450"),
        (452, "4.2.2 mailbox full", "SMTP 452 4.2.2"),
        (550, "4.2.1 come back later", "SMTP 550 4.2.1"),
        (535, "5.7.8 bad credentials", "SMTP 535 5.7.8"),
        (550, "5.7.1 relaying denied", "SMTP 550 5.7.1"),
    ],
)
def test_what_time_or_an_operator_mends_is_transient(code: int, text: str, error: str) -> None:
    assert classify(code, text) == TransientFailure(error)


def test_the_error_repeats_no_address() -> None:
    outcome = classify(550, "5.1.1 <ada@example.com>: unknown")
    assert isinstance(outcome, PermanentFailure)
    assert "ada" not in outcome.error
