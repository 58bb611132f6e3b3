"""A private RabbitMQ: its own node, folders, ports and epmd, on the loopback interface only; or a node of a cluster."""

import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from wavecom_stack.errors import StackError
from wavecom_stack.folder import RunFolder
from wavecom_stack.ports import LOOPBACK, is_listening
from wavecom_stack.supervision import Program

OLDEST: Final = (3, 10)
USER: Final = ("guest", "guest")
EPMD_STAGE: Final = "epmd"

# Debian's rabbitmq-server on PATH is a wrapper that switches to a user of its own; these scripts run as the caller.
_SCRIPTS: Final = "rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"
# What is due when the broker starts may find that the exchange it goes to is not there yet; it tries again after this
# time, in ms, which is three minutes unless told otherwise. Seen after one of a dozen kills.
_ADVANCED: Final = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 10000}]}].\n"
_VERSION: Final = re.compile(r"rabbitmq_server-(\d+)\.(\d+)")


def find_server(library: Path = Path("/usr/lib")) -> Path | None:
    """The newest server script on this machine; None when there is none.

    Raises:
        StackError: the only one is too old.
    """
    found = sorted((version_of(path), path) for path in library.glob(_SCRIPTS))
    if not found:
        on_path = shutil.which("rabbitmq-server")
        return Path(on_path) if on_path else None
    version, path = found[-1]
    if version < OLDEST:
        raise StackError(
            f"RabbitMQ {version[0]}.{version[1]} is installed; {OLDEST[0]}.{OLDEST[1]} is the oldest that will do.",
            "Upgrade it, set WAVECOM_RABBITMQ_URL to a newer one, or start a Docker engine with the compose plugin.",
        )
    return path


def version_of(script: Path) -> tuple[int, int]:
    """Major and minor version, as its folder's name says."""
    match = _VERSION.search(str(script))
    return (int(match[1]), int(match[2])) if match else OLDEST


# Of a cluster: after so many seconds without a sign of life a node counts as down (60 unless told otherwise, and until
# then what its queues' new leaders write to the metadata waits for it); a node cut off from the majority pauses itself,
# so that its clients turn to another; new queues are led by the node that leads the fewest. As in the manifests.
# Sources: https://www.rabbitmq.com/docs/nettick, https://www.rabbitmq.com/docs/partitions
NET_TICK_S: Final = 10
# A new connection to a silent node is given up after so many seconds (7 by default); a channel that is opened in the
# meantime waits for it. Source: net_setuptime, https://www.erlang.org/doc/apps/kernel/kernel_app.html
NET_SETUP_S: Final = 2
_CLUSTER: Final = f"""\
net_ticktime = {NET_TICK_S}
cluster_partition_handling = pause_minority
queue_leader_locator = balanced
cluster_formation.peer_discovery_backend = classic_config
"""


@dataclass(frozen=True)
class PrivateBroker:
    """How to run a RabbitMQ of our own and where it will be.

    Attributes:
        name: of the process, its log and its data.
        peers: the names of all nodes of its cluster, its own among them; empty for a node alone. A cluster's port
            mapper is run by whoever runs the cluster.
    """

    server: Path
    folder: RunFolder
    amqp_port: int
    management_port: int
    epmd_port: int
    distribution_port: int
    name: str = "rabbitmq"
    peers: tuple[str, ...] = ()

    @classmethod
    def plan(cls, server: Path, folder: RunFolder, ports: Iterator[int]) -> "PrivateBroker":
        """Choose its ports."""
        return cls(server, folder, next(ports), next(ports), next(ports), next(ports))

    @classmethod
    def plan_cluster(
        cls, server: Path, folder: RunFolder, ports: Iterator[int], count: int, epmd_port: int
    ) -> "Sequence[PrivateBroker]":
        """Choose the ports of `count` nodes that find each other by the port mapper at `epmd_port`."""
        names = tuple(f"rabbitmq-{number}" for number in range(1, count + 1))
        return [cls(server, folder, next(ports), next(ports), epmd_port, next(ports), name, names) for name in names]

    @property
    def node(self) -> str:
        """The Erlang node's name."""
        return f"{self.name if self.peers else 'wavecom'}@localhost"

    @property
    def url(self) -> str:
        """AMQP address."""
        return f"amqp://{USER[0]}:{USER[1]}@{LOOPBACK}:{self.amqp_port}/"

    @property
    def management_url(self) -> str:
        """Address of the management API and its web page."""
        return f"http://{USER[0]}:{USER[1]}@{LOOPBACK}:{self.management_port}"

    def programs(self) -> Sequence[Program]:
        """The port mapper, started first, and the server; the server alone where it is one of several."""
        server = Program(
            name=self.name,
            stage="infra",
            command=[str(self.server)],
            environment=self.environment(),
            # Stopping politely takes eight seconds and saves nothing: what it confirmed is on disk.
            stop_signal="KILL",
        )
        return (server,) if self.peers else (self._port_mapper(), server)

    def _port_mapper(self) -> Program:
        """An epmd of our own: without it the server would use, or start and leave behind, the machine's."""
        epmd = shutil.which("epmd")
        if epmd is None:
            raise StackError("epmd is missing, though RabbitMQ is installed.", "Install Erlang: erlang-base on Debian.")
        command = [epmd, "-port", str(self.epmd_port), "-address", LOOPBACK]
        return Program(name="epmd", stage=EPMD_STAGE, command=command)

    def environment(self) -> dict[str, str]:
        """What keeps the node apart from any other on the machine; the broker's own commands need it as well."""
        data = self.folder.data(self.name)
        return {
            "HOME": str(self._home),  # the Erlang cookie
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-kernel inet_dist_use_interface {{127,0,0,1}} -kernel net_setuptime {NET_SETUP_S}"
            ),
            "RABBITMQ_MNESIA_BASE": str(data / "node"),
            "RABBITMQ_LOG_BASE": str(data / "log"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(data / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(data / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "enabled_plugins"),
            "RABBITMQ_LOG": "-color",
            "RABBITMQ_PID_FILE": str(self.folder.pid(self.name)),
            # With these two the script becomes the server instead of starting it, so that signals reach it.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_START_ARGS": "-noinput +B i",
        }

    @property
    def _home(self) -> Path:
        return self.folder.data("rabbitmq-home")

    def prepare(self) -> None:
        """Write the node's configuration, and the cookie that nodes and commands of this folder know each other by."""
        data = self.folder.data(self.name)
        for path in (self._home, data / "node", data / "log"):
            path.mkdir(parents=True, exist_ok=True)
        cookie = self._home / ".erlang.cookie"
        if not cookie.exists():
            cookie.touch(mode=0o600)
            cookie.write_text(secrets.token_hex(16))
        (data / "advanced.config").write_text(_ADVANCED)
        (data / "enabled_plugins").write_text("[rabbitmq_management].\n")
        (data / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {LOOPBACK}:{self.amqp_port}\n"
            f"management.tcp.ip = {LOOPBACK}\n"
            f"management.tcp.port = {self.management_port}\n"
            "log.file = false\n"
            "log.console = true\n" + self._cluster()
        )

    def _cluster(self) -> str:
        nodes = [
            f"cluster_formation.classic_config.nodes.{at} = {name}@localhost" for at, name in enumerate(self.peers)
        ]
        return "\n".join([_CLUSTER + nodes[0], *nodes[1:], ""]) if nodes else ""

    def not_ready(self) -> str | None:
        """Why the server can't be used yet; None when it can."""
        if not is_listening(self.amqp_port):
            return "RabbitMQ does not listen yet"
        return management_not_ready(self.management_url)


def management_not_ready(management_url: str) -> str | None:
    """Why the management API can't be used yet; None when it can."""
    try:
        answer = httpx.get(f"{management_url}/api/health/checks/virtual-hosts", timeout=5)
    except httpx.TransportError as error:
        return f"RabbitMQ's management API does not answer yet ({type(error).__name__})"
    return None if answer.is_success else f"RabbitMQ's management API answers {answer.status_code}"
