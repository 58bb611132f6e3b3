"""Every link encrypted and checked at both ends, and what is refused when a certificate is not right."""

import gc
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from email_sender.settings import EmailSenderSettings
from email_sender.smtp import SmtpProvider
from wavecom_common.delivery.port import NotReady
from wavecom_common.hosting import tls
from wavecom_common.hosting.settings import GrpcSettings
from wavecom_common.kernel.errors import ConfigurationError, Unavailable
from wavecom_common.messaging.connection import connected
from wavecom_common.storage.client import Database
from wavecom_common.testing.waiting import eventually
from wavecom_stack.folder import RunFolder
from wavecom_stack.ports import LOOPBACK, free_ports
from wavecom_stack.stack import Stack
from wavecom_stack.waiting import wait_until

from tests.tls.conftest import Mailbox, Papers, Servers, plan_servers

RECIPIENTS = {"email": "user@example.com", "sms": "+15551234567", "push": "device-token-0001"}


@pytest.fixture(scope="module")
def servers(papers: Papers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = RunFolder(tmp_path_factory.mktemp("servers") / "run")
    folder.create()
    planned, amqps_port = plan_servers(folder, papers)
    stack = Stack(folder, planned.environment, print)
    try:
        stack.start_infra(planned.programs)
        for stage in dict.fromkeys(program.stage for program in planned.programs):
            stack.supervisor.start_stage(stage)
        wait_until(lambda: planned.not_ready(amqps_port), timeout_s=120)
        yield planned
    finally:
        stack.stop()


@pytest.mark.timeout(240)
async def test_notifications_pass_over_links_that_are_all_encrypted(
    servers: Servers, mail_server: tuple[int, Mailbox], tmp_path: Path
) -> None:
    port, mailbox = mail_server
    ports = free_ports()
    environment = servers.environment | {
        "WAVECOM_HTTP_PORT": str(next(ports)),
        "WAVECOM_GRPC_PORT": str(next(ports)),
        "WAVECOM_GRPC_TLS": "mutual",
        "WAVECOM_EMAIL_PROVIDER": "smtp",
        "WAVECOM_SMTP_PORT": str(port),
        "WAVECOM_SMTP_TLS": "tls",
        "WAVECOM_SIMULATED_SUCCESS_RATE": "1",
    }
    stack = Stack(RunFolder(tmp_path / "run"), environment, print)
    stack.folder.create()
    processes = stack.plan_services()
    try:
        stack.start_infra(stack.service_programs(processes))
        stack.run_command("topology", "apply")
        stack.run_command("database", "apply")
        stack.start_services(processes)
        async with httpx.AsyncClient(
            base_url=f"http://{LOOPBACK}:{environment['WAVECOM_HTTP_PORT']}", timeout=30
        ) as api:
            ids = []
            for channel, recipient in RECIPIENTS.items():
                body = {"channel": channel, "recipient": recipient, "message": "Your order has been shipped!"}
                answer = await api.post("/api/notifications", json=body)
                assert answer.status_code == 201, answer.text
                ids.append(answer.json()["data"]["id"])

            async def all_are_sent() -> bool:
                found = [(await api.get(f"/api/notifications/{one}")).json() for one in ids]
                return [one["data"]["status"] for one in found] == ["sent"] * len(ids)

            await eventually(all_are_sent, timeout_s=60)
    finally:
        stack.stop()
    [mail] = mailbox.mails
    assert b"Your order has been shipped!" in mail


def files(given: str, papers: Papers, strange: Papers) -> dict[str, str | None]:
    """The two settings of a client of which one thing is wrong, or nothing."""
    return {
        "ca_file": (strange if given == "another authority" else papers).ca_file,
        "cert_file": None if given == "no certificate of its own" else papers.own_file,
    }


WRONG = ["another authority", "no certificate of its own", "another name"]


# A server that closes the connection in the handshake leaves the client library with an error that it looks at no more.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("given", WRONG)
async def test_a_broker_is_not_talked_to(given: str, servers: Servers, papers: Papers, strange_papers: Papers) -> None:
    url = servers.broker_url.replace(LOOPBACK, "localhost") if given == "another name" else servers.broker_url
    with pytest.raises(Unavailable, match=r"TLS|Connection|closed|reset") as refusal:
        async with connected(tls.broker_url(url, **files(given, papers, strange_papers)), "test"):
            pass
    if given != "no certificate of its own":
        assert "TLS" in str(refusal.value)
    assert "guest:" not in str(refusal.value)
    # Here, and not in a later test.
    gc.collect()


async def test_a_broker_of_the_right_name_is_talked_to(
    servers: Servers, papers: Papers, strange_papers: Papers
) -> None:
    async with connected(tls.broker_url(servers.broker_url, **files("", papers, strange_papers)), "test") as connection:
        assert not connection.is_closed


@pytest.mark.parametrize("given", WRONG)
async def test_a_database_is_not_talked_to(
    given: str, servers: Servers, papers: Papers, strange_papers: Papers
) -> None:
    url = servers.mongodb_url.replace(LOOPBACK, "localhost") if given == "another name" else servers.mongodb_url
    wrong = files(given, papers, strange_papers)
    database = Database(
        url, "test", operation_timeout_s=2, tls_ca_file=wrong["ca_file"], tls_cert_file=wrong["cert_file"]
    )
    try:
        with pytest.raises(Unavailable) as refusal:
            await database.hear_time()
    finally:
        await database.close()
    if given != "no certificate of its own":
        assert "WAVECOM_TLS_CA_FILE" in str(refusal.value)


@pytest.mark.parametrize("given", WRONG)
async def test_a_mail_server_is_not_talked_to_and_no_attempt_begun(
    given: str, mail_server: tuple[int, Mailbox], papers: Papers, strange_papers: Papers
) -> None:
    wrong = files(given, papers, strange_papers)
    provider = SmtpProvider(
        EmailSenderSettings(
            smtp_host="localhost" if given == "another name" else LOOPBACK,
            smtp_port=mail_server[0],
            smtp_tls="tls",
            tls_ca_file=wrong["ca_file"],
            tls_cert_file=wrong["cert_file"],
        )
    )
    with pytest.raises(NotReady):
        await provider.ready()
    await provider.close()


@pytest.mark.parametrize("variable", ["WAVECOM_TLS_CA_FILE", "WAVECOM_TLS_CERT_FILE"])
@pytest.mark.parametrize(
    "content", [None, "", "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n"]
)
def test_a_file_that_holds_no_certificate_ends_the_start_in_one_line(
    variable: str, content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "papers.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(ConfigurationError, match=f"{variable}: .*must be a file with") as refusal:
        GrpcSettings.load()
    assert "\n" not in str(refusal.value)


def test_mutual_tls_needs_both_files(monkeypatch: pytest.MonkeyPatch, papers: Papers) -> None:
    monkeypatch.setenv("WAVECOM_GRPC_TLS", "mutual")
    monkeypatch.setenv("WAVECOM_TLS_CA_FILE", papers.ca_file)
    with pytest.raises(ConfigurationError, match="WAVECOM_TLS_CERT_FILE"):
        GrpcSettings.load()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://h/", "amqp://h/"),
        ("amqps://h", "amqps://h/?cafile=%2Fca&certfile=%2Fcert"),
        ("amqps://u:p@h,i:1/v", "amqps://u:p@h,i:1/v?cafile=%2Fca&certfile=%2Fcert"),
        ("amqps://h/v?heartbeat=5", "amqps://h/v?heartbeat=5&cafile=%2Fca&certfile=%2Fcert"),
    ],
)
def test_the_files_are_named_in_the_broker_s_url(url: str, expected: str) -> None:
    assert tls.broker_url(url, ca_file="/ca", cert_file="/cert") == expected
