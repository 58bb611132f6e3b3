"""What a channel's folder says of its channel: all that the rest of the system has to know, and no provider's code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from wavecom_common.channels.request import ChannelRequest


@dataclass(frozen=True, kw_only=True)
class Copy:
    """What one copy of a consumer did with a full queue, as `tests/integration/pod_capacity.py` prints it.

    Attributes:
        per_s: events a second (a sender's are notifications).
        cpu_ms: CPU of one event.
        memory_mb: how much memory it took.
    """

    per_s: int
    cpu_ms: float
    memory_mb: int


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a notification of the channel costs its sender: the sizing is reckoned with it.

    Attributes:
        single_ms: CPU milliseconds of the sender for each of its own notifications, posted one by one: what
            `make bench` prints (its share in a notification of any channel), times the number of channels.
        batch_ms: the same when a hundred are posted at once.
        call_s: how long a provider's call takes, in seconds.
        copy: what one copy did.
    """

    single_ms: float
    batch_ms: float
    call_s: float
    copy: Copy


# Of a simulated provider that answers in 0.35 s: what is reckoned with until the channel was measured.
UNMEASURED: Final = Cost(single_ms=0.285, batch_ms=0.135, call_s=0.35, copy=Copy(per_s=573, cpu_ms=0.43, memory_mb=85))


@dataclass(frozen=True, kw_only=True)
class LocalProvider:
    """A provider on this machine, for the demo: a program that keeps what it is handed as files of a folder.

    Attributes:
        module: run as `python -m <module> --port <port> --folder <folder>`, on the loopback interface.
        environment: makes the sender use it; `{port}` stands for its port.
        what: what it keeps, such as `mails`.
        suffix: of its files, such as `.eml`.
        text: what a reader wants to see of a file.
    """

    module: str
    environment: Mapping[str, str]
    what: str
    suffix: str
    text: Callable[[bytes], str]

    def kept(self, folder: Path) -> list[Path]:
        """The files it has kept in the folder, oldest first."""
        return sorted(folder.glob(f"*{self.suffix}"))


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A channel, as `channel.py` in its sender's folder declares it and the entry point of its package names it.

    Attributes:
        name: as in requests, queues and routing keys; the sender's package is `<name>-sender`.
        request: what a client may ask for: the recipient, the text and their limits.
        example: such a request, as documentation shows it.
        sandbox: a valid recipient for every number from 0, another for each and nobody's: for demos, load and faults.
        settings: the type of the sender's settings, as `module:Class`; not loaded before it is asked for.
        environment: variables of its sender's container beside those that every sender has.
        egress: the TCP ports at which its providers are called.
        cost: what it takes, as measured.
        messages_per_copy: the scaler asks for one more copy for so many waiting messages: what a copy does in ten
            seconds, in full messages of 100, or less.
        local_provider: what the demo delivers to, where that is not the simulated provider.
    """

    name: str
    request: type[ChannelRequest]
    example: Mapping[str, Any]
    sandbox: Callable[[int], str]
    settings: str
    environment: Mapping[str, str] = field(default_factory=dict)
    egress: tuple[int, ...] = (443,)
    cost: Cost = UNMEASURED
    messages_per_copy: int = 55
    local_provider: LocalProvider | None = None

    @property
    def has_subject(self) -> bool:
        """Whether its requests may have a subject."""
        return "subject" in self.example

    def sandbox_request(self, number: int) -> dict[str, Any]:
        """The example, for a recipient of the sandbox."""
        return {**self.example, "recipient": self.sandbox(number)}
