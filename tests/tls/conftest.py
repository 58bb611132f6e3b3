"""A broker, a database and a mail server that speak TLS only and ask every client for its certificate."""

import os
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from wavecom_stack import mongodb, packages, rabbitmq
from wavecom_stack.folder import RunFolder
from wavecom_stack.ports import LOOPBACK, free_ports, is_listening
from wavecom_stack.supervision import Program
from wavecom_stack.waiting import wait_until


@dataclass(frozen=True)
class Papers:
    """Certificate files: of an authority, and of a server or client with its key in the same file."""

    authority: trustme.CA
    folder: Path

    @property
    def ca_file(self) -> str:
        path = self.folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(path))
        return str(path)

    def cert_file(self, name: str) -> str:
        """Of a server."""
        path = self.folder / f"{name}.pem"
        self.authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(path))
        return str(path)

    @property
    def own_file(self) -> str:
        """Of our processes, which are clients of all servers, and a server of each other's.

        Erlang 25 refuses a client whose certificate marks its names as critical, as those of `issue_cert` do.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wavecom")]))
            .issuer_name(x509.load_pem_x509_certificate(self.authority.cert_pem.bytes()).subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(_ca_key(self.authority), hashes.SHA256())
        )
        own_key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = self.folder / "own.pem"
        path.write_bytes(own_key + certificate.public_bytes(serialization.Encoding.PEM))
        return str(path)


def _ca_key(authority: trustme.CA) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(authority.private_key_pem.bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(trustme.CA(), tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="session")
def strange_papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    """Of an authority that no server here trusts, and that vouches for no server here."""
    return Papers(trustme.CA(), tmp_path_factory.mktemp("strange-papers"))


@dataclass(frozen=True)
class Servers:
    """Where they are. Their certificates are for the loopback address, and not for `localhost`."""

    broker_url: str
    mongodb_url: str
    folder: RunFolder
    programs: Sequence[Program]
    broker: rabbitmq.PrivateBroker
    papers: Papers

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "WAVECOM_RABBITMQ_URL": self.broker_url,
            "WAVECOM_MONGODB_URL": self.mongodb_url,
            "WAVECOM_TLS_CA_FILE": self.papers.ca_file,
            "WAVECOM_TLS_CERT_FILE": self.papers.own_file,
        }

    def not_ready(self, amqps_port: int) -> str | None:
        if not is_listening(amqps_port):
            return "RabbitMQ does not listen yet"
        files = f"&tlsCAFile={self.papers.ca_file}&tlsCertificateKeyFile={self.papers.own_file}"
        member = self.mongodb_url.removeprefix("mongodb://").partition("/")[0]
        return self.broker.not_ready() or mongodb.not_serving(self.mongodb_url + files, [member])


def plan_servers(folder: RunFolder, papers: Papers) -> tuple[Servers, int]:
    """The two servers, prepared but not started, and the broker's port for TLS."""
    if rabbitmq.find_server() is None:
        packages.install(["rabbitmq-server"], folder.root / "install.log", print)
    server, mongod, ports = rabbitmq.find_server(), mongodb.find_server(), free_ports()
    assert server is not None
    assert mongod is not None
    broker = rabbitmq.PrivateBroker.plan(server, folder, ports)
    database = mongodb.PrivateDatabase.plan(mongod, folder, ports)
    amqps_port = next(ports)
    broker.prepare()
    database.prepare()
    cert_file = papers.cert_file(LOOPBACK)
    with (folder.data("rabbitmq") / "rabbitmq.conf").open("a") as conf:
        conf.write(
            f"listeners.ssl.1 = {LOOPBACK}:{amqps_port}\n"
            f"ssl_options.cacertfile = {papers.ca_file}\n"
            f"ssl_options.certfile = {cert_file}\n"
            f"ssl_options.keyfile = {cert_file}\n"
            "ssl_options.verify = verify_peer\n"
            "ssl_options.fail_if_no_peer_cert = true\n"
        )
    [program] = database.programs()
    tls = ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", cert_file, "--tlsCAFile", papers.ca_file]
    programs = [*broker.programs(), replace(program, command=[*program.command, *tls])]
    broker_url = f"amqps://{rabbitmq.USER[0]}:{rabbitmq.USER[1]}@{LOOPBACK}:{amqps_port}/"
    mongodb_url = f"mongodb://{LOOPBACK}:{database.port}/?directConnection=true&tls=true"
    return Servers(broker_url, mongodb_url, folder, programs, broker, papers), amqps_port


class Mailbox:
    """Keeps the mails that a server takes."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        self.mails.append(content.encode() if isinstance(content, str) else content or b"")
        return "250 OK"


@pytest.fixture
def mail_server(papers: Papers) -> Iterator[tuple[int, Mailbox]]:
    """Its port, with TLS from the first byte, and its mailbox."""
    mailbox = Mailbox()
    controller = _Controller(mailbox, hostname=LOOPBACK, port=next(free_ports()), ssl_context=server_context(papers))
    controller.start()
    yield controller.port, mailbox
    controller.stop()


class _Controller(Controller):
    def _trigger_server(self) -> None:
        """Its own looks whether the server answers, without the certificate that ours asks for."""
        wait_until(lambda: None if is_listening(self.port) else "not listening", timeout_s=10)


def server_context(papers: Papers) -> ssl.SSLContext:
    """Of a server that asks clients for a certificate of the same authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(papers.cert_file(LOOPBACK))
    context.load_verify_locations(papers.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
