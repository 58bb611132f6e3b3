"""Finding a broker and a database: given, in Docker, on this machine, or installed by us, in that order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Final

from wavecom_stack import docker, mongodb, packages, rabbitmq
from wavecom_stack.errors import StackError
from wavecom_stack.folder import RunFolder
from wavecom_stack.waiting import wait_until

RABBITMQ_URL: Final = "WAVECOM_RABBITMQ_URL"
MANAGEMENT_URL: Final = "WAVECOM_RABBITMQ_MANAGEMENT_URL"
MONGODB_URL: Final = "WAVECOM_MONGODB_URL"

RABBITMQ: Final = "RabbitMQ"
MONGODB: Final = "MongoDB"

COMPOSE_FILE: Final = Path(__file__).parents[4] / "deploy" / "local" / "compose.yaml"
_READY_S: Final = 120

Say = Callable[[str], None]


class Source(Enum):
    """Where a server comes from."""

    GIVEN = "as given in the environment"
    DOCKER = "in Docker"
    MACHINE = "private, from programs on this machine"
    INSTALL = "private, from packages"


def choose(url: str | None, *, docker_can: Callable[[], bool], installed: Callable[[], bool]) -> Source:
    """Decide where a server comes from; asks only as far as it has to."""
    if url:
        return Source.GIVEN
    if docker_can():
        return Source.DOCKER
    return Source.MACHINE if installed() else Source.INSTALL


@dataclass(frozen=True, kw_only=True)
class Infra:
    """A broker and a database, and what of them is ours to run.

    Attributes:
        management_url: the broker's management API with user and password; None when it was not given.
        private: servers of ours to supervise.
        containers: servers of ours in Docker.
    """

    broker_url: str
    management_url: str | None
    mongodb_url: str
    private: Sequence[rabbitmq.PrivateBroker | mongodb.PrivateDatabase] = ()
    containers: docker.Containers | None = None

    def wait_until_ready(self, raise_if_dead: Callable[[str], None]) -> None:
        """Return when every server of ours can be used.

        Args:
            raise_if_dead: raises StackError when the program of that name died.

        Raises:
            StackError: a server did not get there.
        """
        for server in self.private:
            name = server.programs()[-1].name

            def check(
                server: rabbitmq.PrivateBroker | mongodb.PrivateDatabase = server, name: str = name
            ) -> str | None:
                raise_if_dead(name)
                return server.not_ready()

            wait_until(check, timeout_s=_READY_S)
        if self.containers is not None and self.mongodb_url == self.containers.mongodb_url:
            wait_until(self.containers.database_not_ready, timeout_s=_READY_S)


def find(environment: Mapping[str, str], folder: RunFolder, ports: Iterator[int], say: Say) -> Infra:
    """Find or plan a broker and a database; nothing of them runs yet.

    Installs packages where that is the only way left.

    Raises:
        StackError: there is no way; says what to do.
    """

    @cache
    def docker_can() -> bool:
        return docker.can_run(COMPOSE_FILE, say)

    sources = {
        RABBITMQ: choose(
            environment.get(RABBITMQ_URL),
            docker_can=docker_can,
            installed=lambda: rabbitmq.find_server() is not None,
        ),
        MONGODB: choose(environment.get(MONGODB_URL), docker_can=docker_can, installed=_mongod_runs),
    }
    _install(sources, folder, say)
    for name, source in sources.items():
        say(f"Starting {name} ({source.value}) ..." if source is not Source.GIVEN else f"Using {name} {source.value}.")
    return _plan(sources, environment, folder, ports)


def servers(folder: RunFolder, say: Say) -> tuple[Path, Path]:
    """The programs of both servers, RabbitMQ's first, for those who run several of each; installs what is missing.

    Raises:
        StackError: there is no way; says what to do.
    """
    missing = {
        RABBITMQ: Source.INSTALL if rabbitmq.find_server() is None else Source.MACHINE,
        MONGODB: Source.MACHINE if _mongod_runs() else Source.INSTALL,
    }
    _install(missing, folder, say)
    return _found(rabbitmq.find_server(), "rabbitmq-server"), _found(mongodb.find_server(), "mongod")


def _mongod_runs() -> bool:
    server = mongodb.find_server()
    return server is not None and mongodb.runs(server)


def _install(sources: Mapping[str, Source], folder: RunFolder, say: Say) -> None:
    missing = []
    if sources[RABBITMQ] is Source.INSTALL:
        missing.append("rabbitmq-server")
    if sources[MONGODB] is Source.INSTALL:
        if mongodb.find_server() is None:
            raise StackError(
                "There is no mongod on this machine, and none is packaged for its processor.",
                "Install MongoDB 6 or newer, set WAVECOM_MONGODB_URL to a server you have,",
                "or start a Docker engine with the compose plugin.",
            )
        missing.append("libcurl4")  # what the packaged mongod needs beyond a minimal Debian
    if missing:
        folder.create()
        packages.install(missing, folder.root / "install.log", say)


def _plan(
    sources: Mapping[str, Source], environment: Mapping[str, str], folder: RunFolder, ports: Iterator[int]
) -> Infra:
    in_docker = [name.lower() for name, source in sources.items() if source is Source.DOCKER]
    containers = docker.Containers.plan(COMPOSE_FILE, folder, in_docker, ports) if in_docker else None
    private: list[rabbitmq.PrivateBroker | mongodb.PrivateDatabase] = []
    broker_url, management_url = environment.get(RABBITMQ_URL, ""), environment.get(MANAGEMENT_URL)
    mongodb_url = environment.get(MONGODB_URL, "")
    if containers is not None and "rabbitmq" in in_docker:
        broker_url, management_url = containers.broker_url, containers.management_url
    elif not broker_url:
        broker = rabbitmq.PrivateBroker.plan(_found(rabbitmq.find_server(), "rabbitmq-server"), folder, ports)
        broker_url, management_url = broker.url, broker.management_url
        private.append(broker)
    if containers is not None and "mongodb" in in_docker:
        mongodb_url = containers.mongodb_url
    elif not mongodb_url:
        database = mongodb.PrivateDatabase.plan(_found(mongodb.find_server(), "mongod"), folder, ports)
        mongodb_url = database.url
        private.append(database)
    return Infra(
        broker_url=broker_url,
        management_url=management_url,
        mongodb_url=mongodb_url,
        private=private,
        containers=containers,
    )


def _found(server: Path | None, name: str) -> Path:
    if server is None:
        raise StackError(f"{name} was installed but can't be found.", f"See which {name} this machine has.")
    return server
