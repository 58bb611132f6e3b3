"""`make up`: the whole system, started and left running."""

import json
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from wavecom_common.channels.registry import declared

from wavecom_stack.errors import StackError
from wavecom_stack.folder import RunFolder
from wavecom_stack.infra import Say
from wavecom_stack.ports import is_free, listener
from wavecom_stack.services import Process
from wavecom_stack.stack import Stack, undisturbed
from wavecom_stack.state import State
from wavecom_stack.supervision import Program


def up(folder: RunFolder, environment: Mapping[str, str], say: Say) -> None:
    """Start the system of this folder, or say that it runs already.

    Raises:
        StackError: it can't be started; nothing of it is left running.
    """
    stack = Stack(folder, environment, say)
    if stack.is_running():
        state = State.read(folder)
        if state is None:
            raise StackError("Another `make up` is starting the stack just now.", "Wait for it, or run `make down`.")
        say("The stack is up already; nothing was changed. `make down` stops it.")
    else:
        check_ports(stack.plan_services())
        try:
            state = start(stack, say)
        except BaseException:
            with undisturbed():
                if stack.is_running():
                    say("Stopping what was started ...")
                stack.stop(keep_data=True)
            raise
    for line in where_things_are(state, folder):
        say(line)


def start(stack: Stack, say: Say, more: Sequence[Program] = ()) -> State:
    """Start everything and return when every process is ready.

    Args:
        stack: where.
        say: told what happens.
        more: programs to run beside the services, started before them.

    Raises:
        StackError: it can't be done; what was started still runs.
    """
    began = time.monotonic()
    processes = stack.plan_services()
    stack.stop(keep_data=True)  # what a killed supervisor left behind
    stack.folder.remove_logs()
    infra = stack.start_infra([*more, *stack.service_programs(processes)])
    for stage in dict.fromkeys(program.stage for program in more):
        stack.supervisor.start_stage(stage)
    say(f"  ready after {time.monotonic() - began:.0f} s")
    say("Declaring exchanges, queues and indexes ...")
    stack.run_command("topology", "apply")
    stack.run_command("database", "apply")
    say(f"Starting {', '.join(process.name for process in processes)} ...")
    stack.start_services(processes)
    state = State.of(infra, processes)
    state.write(stack.folder)
    say(f"  everything is ready after {time.monotonic() - began:.0f} s")
    return state


def check_ports(processes: Sequence[Process]) -> None:
    """Make sure that the ports the system offers are free.

    Raises:
        StackError: one is not; names who has it and which variable sets another.
    """
    for process in processes:
        if process.port is None or process.service.port is None or is_free(process.port):
            continue
        variable, default = process.service.port
        holder = listener(process.port)
        raise StackError(
            f"Port {process.port} of {process.name} is in use{f' by {holder}' if holder else ''}.",
            f"Choose another one: {variable}={default + 1} make up",
        )


def where_things_are(state: State, folder: RunFolder) -> Sequence[str]:
    """What to tell after a start."""
    return [
        "",
        f"  API          {state.api_url}/api/notifications",
        f"  API docs     {state.api_url}/docs",
        f"  RabbitMQ     {_without_password(state.management_url) if state.management_url else 'as given'}"
        + ("  (user guest, password guest)" if state.management_url and "guest:guest" in state.management_url else ""),
        f"  MongoDB      {_without_password(state.mongodb_url)}",
        f"  logs         {folder.root}/<process>.log",
        "  admin        /health/ready and /metrics of each process:",
        *(f"    {name:<18} {url}" for name, url in state.admin_urls.items()),
        "",
        "  Try it:      curl -X POST " + state.api_url + '/api/notifications -H "Content-Type: application/json" \\',
        f"                 -d '{_example()}'",
        *_how_to_operate(state),
        "  Stop it:     make down, which deletes what was stored; WAVECOM_KEEP_DATA=1 make down keeps it",
    ]


def _example() -> str:
    channel = next(iter(declared().values()))
    return json.dumps({name: channel.example[name] for name in ("channel", "recipient")} | {"message": "Hello"})


def _how_to_operate(state: State) -> Sequence[str]:
    """Of servers of our own: the addresses of others are known, and so may be their passwords."""
    if "guest:guest" not in state.broker_url:
        return []
    return [
        f"  Operate it:  export WAVECOM_RABBITMQ_URL='{state.broker_url}'",
        f"               export WAVECOM_MONGODB_URL='{state.mongodb_url}'",
        "               .venv/bin/wavecom check",
    ]


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
