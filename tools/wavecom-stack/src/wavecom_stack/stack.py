"""One stack from start to stop: broker and database, topology and indexes, the seven processes."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import httpx

from wavecom_stack import docker, infra, services
from wavecom_stack.errors import StackError
from wavecom_stack.folder import RunFolder
from wavecom_stack.infra import Infra, Say
from wavecom_stack.leftovers import MARK, end_leftovers
from wavecom_stack.ports import free_ports
from wavecom_stack.supervision import Program, Supervisor
from wavecom_stack.waiting import wait_until

_READY_S: Final = 90


class Stack:
    """What runs out of one folder."""

    def __init__(self, folder: RunFolder, environment: Mapping[str, str], say: Say) -> None:
        """Nothing happens yet.

        Args:
            folder: where everything is kept.
            environment: what every process gets, and the settings of the stack itself.
            say: told what happens, in one line each.
        """
        self.folder = folder
        self.supervisor = Supervisor(folder)
        self._given = dict(environment)
        self._environment = self._given
        self._ports = free_ports()
        self._say = say

    def start_infra(self, more: Sequence[Program] = (), planned: Infra | None = None) -> Infra:
        """Find a broker and a database, unless they are planned already, and start what of them is ours.

        Args:
            more: programs that will be started later, stage by stage.
            planned: servers of ours; None is to find some.

        Raises:
            StackError: it can't be done; says what to do.
        """
        found = planned or infra.find(self._given, self.folder, self._ports, self._say)
        self.folder.create()
        self._environment = self._given | {
            infra.RABBITMQ_URL: found.broker_url,
            infra.MONGODB_URL: found.mongodb_url,
            MARK: str(self.folder.root),
        }
        programs = [program for server in found.private for program in server.programs()]
        if programs or more:
            for server in found.private:
                server.prepare()
            self.supervisor.start([*programs, *more], self._environment)
            for stage in dict.fromkeys(program.stage for program in programs):
                self.supervisor.start_stage(stage)
        if found.containers is not None:
            found.containers.start()
        found.wait_until_ready(self.supervisor.raise_if_dead)
        return found

    def plan_services(self) -> Sequence[services.Process]:
        """Which processes there will be."""
        return services.plan(self._environment, self._ports)

    def service_programs(self, processes: Sequence[services.Process]) -> Sequence[Program]:
        """How to run them."""
        return services.programs(processes, self._environment, self.folder)

    def run_command(self, *arguments: str) -> None:
        """Run one command of the operator's command line against this stack.

        Raises:
            StackError: it failed; carries what it said.
        """
        done = subprocess.run(
            [sys.executable, "-m", "wavecom_cli", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"`wavecom {' '.join(arguments)}` failed:", *done.stdout.splitlines()[-15:])

    def start_services(self, processes: Sequence[services.Process]) -> None:
        """Start the processes and return when every one is ready.

        Raises:
            StackError: one died or is not ready in time; carries its last words.
        """
        self.supervisor.start_stage(services.STAGE)
        with httpx.Client(timeout=5) as client:
            for process in processes:

                def not_ready(process: services.Process = process) -> str | None:
                    self.supervisor.raise_if_dead(process.name)
                    return _not_ready(client, process)

                wait_until(not_ready, timeout_s=_READY_S)

    def is_running(self) -> bool:
        """Whether this folder's stack is up."""
        return self.supervisor.is_running()

    def stop(self, *, keep_data: bool = False) -> int:
        """Stop whatever of this folder still runs, also what an earlier start left behind.

        Returns:
            How many processes there were that no supervisor looked after.

        Raises:
            StackError: something does not stop.
        """
        self.supervisor.stop()
        left = end_leftovers(self.folder)
        docker.stop(infra.COMPOSE_FILE, self.folder, keep_data=keep_data)
        for path in [self.folder.state, *self.folder.root.glob("*.pid")]:
            path.unlink(missing_ok=True)
        if not keep_data:
            self.folder.remove_data()
        return left


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no signal cut short what is done inside: an impatient second Ctrl-C must not leave anything running."""
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _not_ready(client: httpx.Client, process: services.Process) -> str | None:
    try:
        answer = client.get(process.ready_url)
    except httpx.TransportError:
        return f"{process.name} does not answer yet"
    return None if answer.is_success else f"{process.name} is not ready: {answer.text[:200]}"
