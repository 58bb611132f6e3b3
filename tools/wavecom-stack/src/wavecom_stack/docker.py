"""The broker and the database in containers, where a Docker engine is at hand that can get the images."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wavecom_stack.errors import StackError
from wavecom_stack.folder import RunFolder
from wavecom_stack.mongodb import not_serving, url_of
from wavecom_stack.ports import LOOPBACK
from wavecom_stack.rabbitmq import USER

if TYPE_CHECKING:
    from testcontainers.compose import DockerCompose

_IMAGE: Final = re.compile(r"^ +image: *(\S+)", re.MULTILINE)
_ASK_S: Final = 10
_PULL_S: Final = 600


def images(compose_file: Path) -> Sequence[str]:
    """The images a compose file names."""
    return _IMAGE.findall(compose_file.read_text())


def can_run(compose_file: Path, say: Callable[[str], None]) -> bool:
    """Whether an engine and the compose plugin answer and every image is there, after pulling what is missing.

    Takes a second or two unless images have to be pulled; a registry that does not answer is a no after 10 s.
    """
    if shutil.which("docker") is None or not (_works("version") and _works("compose", "version")):
        return False
    missing = [image for image in images(compose_file) if not _works("image", "inspect", image)]
    if not all(_works("manifest", "inspect", image) for image in missing):
        return False
    for image in missing:
        say(f"Pulling {image} ...")
    return all(_works("pull", "--quiet", image, timeout_s=_PULL_S) for image in missing)


def _works(*arguments: str, timeout_s: float = _ASK_S) -> bool:
    try:
        return (
            subprocess.run(["docker", *arguments], capture_output=True, timeout=timeout_s, check=False).returncode == 0
        )
    except subprocess.TimeoutExpired:
        return False


@dataclass(frozen=True)
class Containers:
    """One compose project: which services, on which ports."""

    compose_file: Path
    folder: RunFolder
    services: Sequence[str]
    amqp_port: int
    management_port: int
    mongodb_port: int

    @classmethod
    def plan(cls, compose_file: Path, folder: RunFolder, services: Sequence[str], ports: Iterator[int]) -> "Containers":
        """Choose its ports."""
        return cls(compose_file, folder, services, next(ports), next(ports), next(ports))

    @property
    def broker_url(self) -> str:
        """AMQP address."""
        return f"amqp://{USER[0]}:{USER[1]}@{LOOPBACK}:{self.amqp_port}/"

    @property
    def management_url(self) -> str:
        """Address of the management API and its web page."""
        return f"http://{USER[0]}:{USER[1]}@{LOOPBACK}:{self.management_port}"

    @property
    def mongodb_url(self) -> str:
        """Connection string."""
        return url_of(self.mongodb_port)

    def start(self) -> None:
        """Start the containers and return when they are healthy.

        Raises:
            StackError: they did not become so.
        """
        self._settings_file.write_text(
            f"COMPOSE_PROJECT_NAME=wavecom-{self.folder.identity}\n"
            f"WAVECOM_LOCAL_AMQP_PORT={self.amqp_port}\n"
            f"WAVECOM_LOCAL_MANAGEMENT_PORT={self.management_port}\n"
            f"WAVECOM_LOCAL_MONGODB_PORT={self.mongodb_port}\n"
        )
        try:
            compose_project(self.compose_file, self.folder, self.services).start()
        except subprocess.CalledProcessError as error:
            raise StackError("docker compose could not start the broker and the database:", _output(error)) from error

    def database_not_ready(self) -> str | None:
        """Make the database a primary; return why it is none yet, or None."""
        return not_serving(self.mongodb_url, ["127.0.0.1:27017"])

    @property
    def _settings_file(self) -> Path:
        return settings_file(self.folder)


def settings_file(folder: RunFolder) -> Path:
    """Project name and ports; there as long as the project is."""
    return folder.root / "compose.env"


def stop(compose_file: Path, folder: RunFolder, *, keep_data: bool) -> None:
    """Remove the containers of this folder and, unless told otherwise, what they stored; fine where there are none.

    Raises:
        StackError: docker refused.
    """
    if not settings_file(folder).exists():
        return
    try:
        compose_project(compose_file, folder, None).stop(down=not keep_data)
    except subprocess.CalledProcessError as error:
        raise StackError("docker compose could not stop the broker and the database:", _output(error)) from error
    settings_file(folder).unlink()


def compose_project(compose_file: Path, folder: RunFolder, services: Sequence[str] | None) -> "DockerCompose":
    """The project as testcontainers drives it."""
    from testcontainers.compose import DockerCompose  # two seconds to import, so only where Docker is used

    return DockerCompose(
        compose_file.parent,
        compose_file_name=compose_file.name,
        env_file=str(settings_file(folder)),
        services=list(services) if services else None,
    )


def _output(error: subprocess.CalledProcessError) -> str:
    return (error.stderr or error.stdout or b"").decode(errors="replace").strip()
