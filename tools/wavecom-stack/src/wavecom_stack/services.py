"""The processes of the system and how each is started here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from sys import executable
from typing import Final

from wavecom_common.events.channels import CHANNELS
from wavecom_common.events.routing import sender_name

from wavecom_stack.errors import StackError
from wavecom_stack.folder import RunFolder
from wavecom_stack.ports import LOOPBACK
from wavecom_stack.supervision import Program

STAGE: Final = "services"
# What is off unless asked for, and meant for a machine like this: pages served on it, at whatever port, may call the
# API, and gRPC clients may ask what there is.
_FOR_DEVELOPMENT: Final = {
    "ingest-api": {"WAVECOM_CORS_ORIGINS": "http://localhost:*,http://127.0.0.1:*"},
    "status-query": {"WAVECOM_GRPC_REFLECTION": "true"},
}
# Of the defaults of the services: a sender lets its calls end.
_LONGEST_DRAIN_S: Final = 35


@dataclass(frozen=True)
class Service:
    """One kind of process.

    Attributes:
        arguments: what follows `python -m`.
        port: the variable that sets the port it serves and that port's default; None when it serves none.
    """

    name: str
    arguments: Sequence[str]
    port: tuple[str, int] | None = None


SERVICES: Final = (
    Service("ingest-api", ["ingest_api"], ("WAVECOM_HTTP_PORT", 3000)),
    Service("dispatcher", ["dispatcher"]),
    *(Service(sender_name(channel), [sender_name(channel).replace("-", "_")]) for channel in CHANNELS),
    Service("status-projector", ["status_projector", "projector"]),
    Service("status-query", ["status_projector", "query"], ("WAVECOM_GRPC_PORT", 50051)),
)


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process of a service, planned.

    Attributes:
        name: the service's, with a number behind it where there are several copies.
        port: what it serves to others; None when nothing.
    """

    name: str
    service: Service
    port: int | None
    admin_port: int

    @property
    def ready_url(self) -> str:
        """Answers 200 when the process is ready."""
        return f"http://{LOOPBACK}:{self.admin_port}/health/ready"


def plan(environment: Mapping[str, str], ports: Iterator[int]) -> Sequence[Process]:
    """Decide which processes there are; `WAVECOM_COPIES_DISPATCHER=2` makes two of a service.

    Copies of a service that others call take ports in a row, from the one in the service's variable upwards.

    Raises:
        StackError: a number in the environment is none.
    """
    return [
        Process(
            name=service.name if copies == 1 else f"{service.name}-{number}",
            service=service,
            port=None if service.port is None else _number(environment, *service.port) + number - 1,
            admin_port=next(ports),
        )
        for service in SERVICES
        for copies in [_number(environment, f"WAVECOM_COPIES_{service.name.upper().replace('-', '_')}", 1)]
        for number in range(1, copies + 1)
    ]


def _number(environment: Mapping[str, str], variable: str, default: int) -> int:
    value = environment.get(variable, str(default))
    if not value.isdecimal() or int(value) < 1:
        raise StackError(f"{variable} is {value!r}; it has to be a whole number from 1.")
    return int(value)


def programs(processes: Sequence[Process], environment: Mapping[str, str], folder: RunFolder) -> Sequence[Program]:
    """How to run these processes.

    Args:
        processes: what to run.
        environment: what they will inherit; decides what is still to be set for each.
        folder: where pid files go.

    Raises:
        StackError: a number in the environment is none.
    """
    drain_s = _seconds(environment, "WAVECOM_DRAIN_TIMEOUT_S", _LONGEST_DRAIN_S)
    targets = ",".join(f"{LOOPBACK}:{process.port}" for process in processes if process.service.name == "status-query")
    common = {} if "WAVECOM_STATUS_QUERY_TARGET" in environment else {"WAVECOM_STATUS_QUERY_TARGET": f"ipv4:{targets}"}
    return [
        Program(
            name=process.name,
            stage=STAGE,
            command=[executable, "-m", *process.service.arguments],
            environment=common | _own_environment(process, environment, folder),
            stop_wait_s=drain_s + 10,
        )
        for process in processes
    ]


def _seconds(environment: Mapping[str, str], variable: str, default: float) -> float:
    value = environment.get(variable, str(default))
    try:
        return float(value)
    except ValueError:
        raise StackError(f"{variable} is {value!r}; it has to be a number of seconds.") from None


def _own_environment(process: Process, environment: Mapping[str, str], folder: RunFolder) -> dict[str, str]:
    own = {
        "WAVECOM_PID_FILE": str(folder.pid(process.name)),
        "WAVECOM_ADMIN_PORT": str(process.admin_port),
    }
    if process.service.port is not None:
        own[process.service.port[0]] = str(process.port)
    for name, value in _FOR_DEVELOPMENT.get(process.service.name, {}).items():
        if name not in environment:
            own[name] = value
    if "OTEL_SERVICE_NAME" not in environment:
        own["OTEL_SERVICE_NAME"] = process.service.name
    return own
