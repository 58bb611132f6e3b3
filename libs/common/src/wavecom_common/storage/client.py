"""The connection to the database, and the only place that makes a driver client."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Literal

from wavecom_common.kernel.clock import SYSTEM_CLOCK, Clock
from wavecom_common.kernel.component import Component
from wavecom_common.kernel.errors import ConfigurationError, Unavailable
from wavecom_common.kernel.tasks import cancel, spawn_vital
from wavecom_common.storage import tracing
from wavecom_common.storage.database_clock import DatabaseClock
from wavecom_common.storage.driver import (
    Client,
    Collection,
    Document,
    PyMongoError,
    ReadConcern,
    ReadPreference,
    operation_timeout,
)
from wavecom_common.storage.errors import database_errors
from wavecom_common.telemetry.logs import get_logger

SERVER_SELECTION_TIMEOUT_S: Final = 5.0
PING_INTERVAL_S: Final = 2.0
PING_TIMEOUT_S: Final = 3.0
OPERATION_TIMEOUT_S: Final = 10.0

# When a write counts as done. All that is promised rests on the first: the others lose writes that were acknowledged.
WriteConcern = Literal["majority", "journaled", "memory"]
MAJORITY: Final = "majority"
_OPTIONS: Final[Mapping[WriteConcern, Mapping[str, Any]]] = {
    # In the journals of a majority.
    "majority": {"w": "majority", "journal": True},
    # In the primary's journal: lost when it is replaced before the others had it.
    "journaled": {"w": 1, "journal": True},
    # In the primary's memory: lost, too, when it is killed.
    "memory": {"w": 1, "journal": False},
}

_log = get_logger()


class Database(Component):
    """One database, for the life of a process (a component).

    Writes are acknowledged by a majority, from the journal, unless the write concern says otherwise: without either,
    thousands of acknowledged writes are lost when a server is killed. Reads ask the primary for what a majority has,
    whatever the URL says: what they find decides whether a provider is called. Each operation is retried by the driver
    until `operation_timeout_s` is over. Dates come and go as milliseconds (`DatetimeMS`).
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        operation_timeout_s: float = OPERATION_TIMEOUT_S,
        write_concern: WriteConcern = MAJORITY,
        only_answers: bool = False,
        tls_ca_file: str | None = None,
        tls_cert_file: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Prepare the client; nothing is connected yet.

        With `only_answers` reads go where the URL's `readPreference` says: for a process whose reads decide nothing.

        The files (see `hosting.settings`) count where the URL asks for TLS.

        Raises:
            ConfigurationError: the URL is not one of MongoDB's.
        """
        files: dict[str, Any] = {"tlsCAFile": tls_ca_file, "tlsCertificateKeyFile": tls_cert_file}
        try:
            self._client: Client = Client(
                url,
                appname="wavecom",
                **_OPTIONS[write_concern],
                retryWrites=True,
                retryReads=True,
                serverSelectionTimeoutMS=int(SERVER_SELECTION_TIMEOUT_S * 1000),
                timeoutMS=int(operation_timeout_s * 1000),
                datetime_conversion="DATETIME_MS",
                event_listeners=tracing.command_listeners(),
                **{name: path for name, path in files.items() if path and _asks_for_tls(url)},
            )
        except (PyMongoError, ValueError) as error:
            # The driver's text may repeat the URL, and with it a password.
            raise ConfigurationError(f"WAVECOM_MONGODB_URL is wrong: {type(error).__name__}") from None
        self._database = self._client[name]
        self._write_concern = write_concern
        self._only_answers = only_answers
        self._clock = clock
        self.clock: Final = DatabaseClock()
        self._unready: str | None = "database: not reached yet"
        self._watcher: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def name(self) -> str:
        """The database's name."""
        return self._database.name

    def collection(self, name: str, *, decides: bool = True) -> Collection:
        """A collection of this database; calls on it belong inside `database_errors()`.

        `decides=False` is for what only answers questions, in a process that does nothing else.
        """
        if self._only_answers and not decides:
            return self._database[name]
        return self._database.get_collection(
            name, read_preference=ReadPreference.PRIMARY, read_concern=ReadConcern("majority")
        )

    async def hear_time(self) -> None:
        """Make sure that `clock` is known: returns at once, but for the first time.

        Raises:
            Unavailable: the database can't be reached.
        """
        if not self.clock.known:
            with database_errors():
                await self._hello()

    async def admin_command(self, command: Document) -> Document:
        """Run a command on the server's own database; belongs inside `database_errors()`."""
        answer: Document = await self._client.admin.command(command)
        return answer

    async def start(self) -> None:
        """Begin to watch the server. Does not wait for it: a process may start before its database."""
        if self._write_concern != MAJORITY:
            _log.warning("write_concern_weakened", write_concern=self._write_concern)
        self._watcher = spawn_vital(self._watch(), "database watch")

    def ready(self) -> str | None:
        """None while a primary answers, else the reason; a few seconds old at most."""
        return self._unready

    async def close(self) -> None:
        """End the connections."""
        self._closing = True
        await cancel(self._watcher)
        # It says goodbye to the server, and waits for an answer: not in the loop, which has other components to end.
        await asyncio.to_thread(self._client.close)

    async def _watch(self) -> None:
        while True:
            self._unready = await self._ask()
            if self._closing:
                # The driver may swallow a cancellation that comes while it looks for a server.
                return
            await self._clock.sleep(PING_INTERVAL_S)

    async def _ask(self) -> str | None:
        try:
            with database_errors(), operation_timeout(PING_TIMEOUT_S):
                answer = await self._hello()
        except Unavailable as error:
            return str(error)
        return None if answer.get("isWritablePrimary") else "database: the server is not a primary"

    async def _hello(self) -> Document:
        """How the primary is; its clock is told with it, and heard."""
        asked_at_ms = self.clock.local_ms()
        answer: Document = await self._client.admin.command("hello", codec_options=self._database.codec_options)
        self.clock.hear(int(answer["localTime"]), asked_at_ms=asked_at_ms)
        return answer


def _asks_for_tls(url: str) -> bool:
    # A URL that names a DNS record implies it.
    return url.startswith("mongodb+srv:") or any(f"{name}=true" in url for name in ("tls", "ssl"))
