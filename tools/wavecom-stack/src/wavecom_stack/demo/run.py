"""The demo from start to end."""

import asyncio
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx
from rich.console import Console
from wavecom_common.events.channels import CHANNELS
from wavecom_common.kernel.clock import SYSTEM_CLOCK

from wavecom_stack import infra
from wavecom_stack.demo.client import Client
from wavecom_stack.demo.load import mixed_load
from wavecom_stack.demo.progress import view
from wavecom_stack.demo.report import print_mail, print_results, print_timeline
from wavecom_stack.demo.results import TERMINAL, ChannelResult, most_telling, summarise
from wavecom_stack.errors import StackError
from wavecom_stack.folder import RunFolder
from wavecom_stack.ports import free_ports
from wavecom_stack.stack import Stack, undisturbed
from wavecom_stack.supervision import Program
from wavecom_stack.up import start

_COUNT: Final = 300
_PER_SECOND: Final = 60
_RETRY_BASE_DELAY_S: Final = 1
_LIMIT_S: Final = 120
_LOOK_EVERY_S: Final = 0.5


def demo(folder: RunFolder, given: Mapping[str, str]) -> None:
    """Start a stack of its own, send a mixed load, show what happened, stop the stack.

    Args:
        folder: emptied first; logs and mails stay in it.
        given: the environment; of its WAVECOM_ settings only where RabbitMQ and MongoDB are is used.

    Raises:
        StackError: something went wrong; says what, and where the logs are.
    """
    console = Console(highlight=False)
    ports = free_ports()
    smtp_port = next(ports)
    environment = demo_environment(given, http_port=next(ports), grpc_port=next(ports), smtp_port=smtp_port)
    stack = Stack(folder, environment, lambda line: console.print(line, markup=False, soft_wrap=True))
    stack.stop()  # what a killed demo left behind
    shutil.rmtree(folder.root, ignore_errors=True)
    try:
        state = start(stack, console.print, [_mail_server(folder, smtp_port)])
        asyncio.run(_show(console, state.api_url, folder))
    except StackError as error:
        raise StackError(f"The demo failed. {error}", f"The logs of all processes are in {folder.root}.") from error
    finally:
        console.print("\nStopping everything ...")
        with undisturbed():
            stack.stop()
    _print_where_to_go(console, folder)


def demo_environment(given: Mapping[str, str], *, http_port: int, grpc_port: int, smtp_port: int) -> dict[str, str]:
    """What the demo's processes get: real mail to our own server, simulated sms and push, short waits for retries."""
    kept = {infra.RABBITMQ_URL, infra.MANAGEMENT_URL, infra.MONGODB_URL}
    return {name: value for name, value in given.items() if not name.startswith("WAVECOM_") or name in kept} | {
        "WAVECOM_HTTP_PORT": str(http_port),
        "WAVECOM_GRPC_PORT": str(grpc_port),
        "WAVECOM_MONGODB_DATABASE": "wavecom_demo",
        "WAVECOM_EMAIL_PROVIDER": "smtp",
        "WAVECOM_SMTP_PORT": str(smtp_port),
        "WAVECOM_SMTP_FROM": "notifications@wavecom.example",
        "WAVECOM_RETRY_BASE_DELAY_S": str(_RETRY_BASE_DELAY_S),
    }


def _mail_server(folder: RunFolder, port: int) -> Program:
    command = [
        sys.executable,
        "-m",
        "wavecom_stack.smtp_sink",
        "--port",
        str(port),
        "--folder",
        str(folder.root / "mail"),
    ]
    return Program(name="smtp-sink", stage="providers", command=command)


async def _show(console: Console, api_url: str, folder: RunFolder) -> None:
    bodies = mixed_load(_COUNT, seed=int(time.time()))
    console.print(
        f"\nSending {_COUNT} notifications to POST {api_url}/api/notifications, {_PER_SECOND} a second. Mails go to a\n"
        "local mail server; SMS (85 % succeed) and push (95 %) are simulated. A failed attempt is retried after\n"
        f"{_RETRY_BASE_DELAY_S} s, then {2 * _RETRY_BASE_DELAY_S} s, three attempts in all "
        "(5 s, 10 s, ... outside of this demo).\n",
        soft_wrap=True,
    )
    async with Client(api_url) as client:
        notifications = await _send_and_watch(console, client, bodies)
        print_results(console, _by_channel(notifications))
        shown = most_telling(notifications)
        print_timeline(console, shown, await client.timeline(shown["id"]))
    print_mail(console, folder.root / "mail")


async def _send_and_watch(console: Console, client: Client, bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    posted = 0

    def count() -> None:
        nonlocal posted
        posted += 1

    sending = asyncio.create_task(client.send(bodies, _PER_SECOND, count))
    notifications: list[dict[str, Any]] = []
    try:
        with view(console, Counter(body["channel"] for body in bodies)) as shown:
            async with asyncio.timeout(_LIMIT_S):
                while not (sending.done() and _all_ended(notifications, sending.result())):
                    await SYSTEM_CLOCK.sleep(_LOOK_EVERY_S)
                    notifications = await client.newest(posted)
                    shown.show(posted, _by_channel(notifications))
    except TimeoutError as error:
        counts = Counter(one["status"] for one in notifications)
        raise StackError(f"After {_LIMIT_S} s not every notification has come to an end: {dict(counts)}.") from error
    except httpx.HTTPError as error:
        raise StackError(f"The API can't be reached: {type(error).__name__}.") from error
    finally:
        sending.cancel()
    return notifications


def _all_ended(notifications: Sequence[dict[str, Any]], ids: Sequence[str]) -> bool:
    ended = {one["id"] for one in notifications if one["status"] in TERMINAL}
    return ended.issuperset(ids)


def _by_channel(notifications: Sequence[dict[str, Any]]) -> list[ChannelResult]:
    return [summarise(channel, notifications) for channel in CHANNELS]


def _print_where_to_go(console: Console, folder: RunFolder) -> None:
    console.print(
        "Nothing is left running. Where to go next:\n"
        "  make up        the same stack to play with: API on http://127.0.0.1:3000, its docs under /docs\n"
        "  make test      all tests, against a real RabbitMQ and a real MongoDB\n"
        "  README.md      what the system promises, how it is built, how to work on it\n"
        f"  {folder.root}  this demo's logs and mails",
        markup=False,
        soft_wrap=True,
    )
