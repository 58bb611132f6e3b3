"""Running processes under supervisor: started in stages, restarted when they die, logged, stopped in order."""

import contextlib
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Final, cast
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from wavecom_stack.errors import StackError
from wavecom_stack.folder import RunFolder
from wavecom_stack.leftovers import wait_for_end
from wavecom_stack.waiting import wait_until

_DIED: Final = frozenset({"BACKOFF", "EXITED", "FATAL", "UNKNOWN"})


@dataclass(frozen=True, kw_only=True)
class Program:
    """One process to keep alive.

    Attributes:
        name: names its log, `<name>.log`.
        stage: programs of one stage start together and stop together; the last stage stops first.
        environment: added to what the supervisor itself was given.
        stop_signal: what asks it to stop.
        stop_wait_s: how long it may take after that before it is killed.
    """

    name: str
    stage: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = "TERM"
    stop_wait_s: float = 15


def render_config(programs: Sequence[Program], folder: RunFolder) -> str:
    """Supervisor's configuration for these programs; stages come in the order in which they first appear."""
    stages = list(dict.fromkeys(program.stage for program in programs))
    sections = [_HEADER.format(root=_escape(str(folder.root)), socket=_escape(str(folder.supervisor_socket)))]
    for priority, stage in enumerate(stages, start=1):
        names = ",".join(program.name for program in programs if program.stage == stage)
        sections.append(f"[group:{stage}]\nprograms={names}\npriority={priority}\n")
    sections += [_program_section(program, folder) for program in programs]
    return "\n".join(sections)


# A process that was up and is killed comes back at once; one that can't start is tried again and again, ever slower.
_HEADER: Final = """\
[supervisord]
logfile={root}/supervisord.log
pidfile={root}/supervisord.pid
childlogdir={root}
directory={root}
identifier=wavecom

[unix_http_server]
file={socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{socket}
"""

_PROGRAM: Final = """\
[program:{name}]
command={command}
environment={environment}
autostart=false
autorestart=true
startsecs=1
startretries=1000
stopsignal={stop_signal}
stopwaitsecs={stop_wait_s}
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=2
"""


def _program_section(program: Program, folder: RunFolder) -> str:
    return _PROGRAM.format(
        name=program.name,
        command=_escape(shlex.join(program.command)),
        environment=_escape(",".join(f'{key}="{value}"' for key, value in program.environment.items())),
        stop_signal=program.stop_signal,
        stop_wait_s=round(program.stop_wait_s),
        log=_escape(str(folder.log(program.name))),
    )


def _escape(value: str) -> str:
    return value.replace("%", "%%")


class Supervisor:
    """One supervisor process and what it runs."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def start(self, programs: Sequence[Program], environment: Mapping[str, str]) -> None:
        """Start the supervisor itself; no program runs yet.

        Every program inherits `environment`. The supervisor is a daemon, so that Ctrl-C reaches only us.

        Raises:
            StackError: it did not come up.
        """
        self._folder.create()
        self._folder.supervisor_config.write_text(render_config(programs, self._folder))
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._folder.supervisor_config)],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StackError("The supervisor did not start:", *done.stdout.splitlines()[-15:])
        wait_until(lambda: None if self.is_running() else "the supervisor does not answer yet", timeout_s=20)

    def is_running(self) -> bool:
        """Whether a supervisor of this folder answers."""
        try:
            self._call("getState")
        except (OSError, HTTPException):
            return False
        return True

    def start_stage(self, stage: str) -> None:
        """Start the programs of a stage, without waiting for them."""
        self._call("startProcessGroup", stage, False)

    def start_program(self, name: str) -> None:
        """Start a program that was stopped."""
        self._call("startProcess", self._qualified(name))

    def stop_program(self, name: str) -> None:
        """Stop one program (SIGTERM) and leave it stopped."""
        self._call("stopProcess", self._qualified(name))

    def pid(self, name: str) -> int:
        """The pid of a running program; 0 when it does not run."""
        return int(str(self._info()[name]["pid"]))

    def raise_if_dead(self, name: str) -> None:
        """Say so if a program died.

        Raises:
            StackError: it did; carries the end of its log.
        """
        info = self._info()[name]
        if info["statename"] in _DIED:
            raise StackError(
                f"{name} stopped: {info['spawnerr'] or info['description']}. The end of its log:",
                *self._folder.last_lines(name),
                f"The whole log: {self._folder.log(name)}",
            )

    def stop(self, timeout_s: float = 90) -> None:
        """Stop everything, the last stage first, then the supervisor; return when nothing is left.

        Raises:
            StackError: something is still alive after `timeout_s`.
        """
        process = self._process()
        if process is None:
            return
        try:
            self._call("shutdown")
        except (OSError, HTTPException, Fault):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        if wait_for_end([process], timeout_s):
            raise StackError(f"The supervisor (pid {process.pid}) did not stop within {timeout_s:.0f} s.")

    def _process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(int((self._folder.root / "supervisord.pid").read_text()))
            # The file outlives a supervisor that was killed, and its pid may be another process's by now.
            return process if str(self._folder.supervisor_config) in process.cmdline() else None
        except (FileNotFoundError, ValueError, psutil.Error):
            return None

    def _qualified(self, name: str) -> str:
        return f"{self._info()[name]['group']}:{name}"

    def _info(self) -> dict[str, dict[str, object]]:
        processes = cast(list[dict[str, object]], self._call("getAllProcessInfo"))
        return {str(process["name"]): process for process in processes}

    def _call(self, method: str, *arguments: object) -> object:
        transport = SupervisorTransport(serverurl=f"unix://{self._folder.supervisor_socket}")
        proxy = ServerProxy("http://localhost", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        finally:
            transport.close()
