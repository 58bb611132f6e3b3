"""What a channel supplies: an adapter that makes provider calls and says how each went."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from wavecom_common.events.outcomes import DeliveryOutcome
from wavecom_common.kernel.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Attempt:
    """One provider call to make. An adapter sees nothing else of the system: no broker, no retries, no clock."""

    notification_id: str
    # Which try it is, from 1.
    number: int
    # The same for every call of this attempt: where a provider takes a key, it does nothing twice.
    dedup_key: str
    recipient: str
    message: str
    # E-mail only.
    subject: str | None


class NotReady(Unavailable):
    """No connection to the provider can be had now: nothing was called, and no attempt is spent. Retryable.

    `cause` is one of a few words, for logs and metrics: refused, dns, tls, timeout, greeting, login, broken.
    """

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(f"no connection to the provider: {cause} {detail}".rstrip())
        self.cause = cause


class Adapter(Protocol):
    """One provider of one channel that carries any number of calls at once."""

    @property
    def name(self) -> str:
        """The provider's name, for the timeline and the metrics."""
        ...

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        """Make the call. Many run at the same time. A failure is a value; an exception is taken for `UnknownOutcome`.

        When cancelled (the time-out, a stop) it ends at once; the outcome is then unknown.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@runtime_checkable
class BatchAdapter(Adapter, Protocol):
    """One provider of one channel that takes several attempts in one call, and any number of calls at once."""

    @property
    def max_batch(self) -> int:
        """Attempts in one call at most; 1: each has a call of its own."""
        ...

    async def deliver_batch(self, attempts: Sequence[Attempt]) -> Sequence[DeliveryOutcome]:
        """Make one call for 1 to `max_batch` attempts: an outcome for each, in order.

        An exception, as the time-out, is taken for `UnknownOutcome` of all of them.
        """
        ...


class Connection(Protocol):
    """A ready way to a provider, which carries one call at a time."""

    @property
    def handed_over(self) -> bool:
        """Whether the latest call went so far that it may have taken effect: true before the first byte that could."""
        ...

    async def deliver(self, attempt: Attempt) -> DeliveryOutcome:
        """Make the call. A failure is a value.

        When it raises or is cancelled (the time-out), its outcome is unknown if it was handed over. If not, nothing
        happened, and the call is made again over another connection.
        """
        ...

    def give_back(self) -> None:
        """Return it to the adapter it came from, used or not, broken or not."""
        ...


@runtime_checkable
class ConnectedAdapter(Protocol):
    """One provider of one channel that carries as many calls at once as it has connections.

    Getting one ready is no call: it is done before the attempt is claimed, has a time limit of its own, and costs no
    attempt, however often it fails.
    """

    @property
    def name(self) -> str:
        """The provider's name, for the timeline and the metrics."""
        ...

    @property
    def capacity(self) -> int:
        """Calls it carries at once. No more connections than that are asked for before others are given back."""
        ...

    async def ready(self) -> Connection:
        """A connection over which a call can be made at once. Cancelled when it takes too long.

        Raises:
            NotReady: there is none. Anything else it raises is taken for that, too.
        """
        ...

    async def close(self) -> None:
        """Let go of all connections, also of those not given back."""
        ...
