"""The demo from start to end."""

import asyncio
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console
from wavecom_common.channels.declaration import Channel
from wavecom_common.channels.registry import declared
from wavecom_common.events.channels import CHANNELS
from wavecom_common.hosting.sender import settings_of
from wavecom_common.kernel.clock import SYSTEM_CLOCK

from wavecom_stack import infra
from wavecom_stack.demo.client import Client
from wavecom_stack.demo.load import mixed_load
from wavecom_stack.demo.progress import view
from wavecom_stack.demo.report import print_kept, print_results, print_timeline
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
LOCAL_PROVIDERS: Final = {
    channel.name: channel.local_provider for channel in declared().values() if channel.local_provider is not None
}


def demo(folder: RunFolder, given: Mapping[str, str]) -> None:
    """Start a stack of its own, send a mixed load, show what happened, stop the stack.

    Args:
        folder: emptied first; logs and what local providers kept stay in it.
        given: the environment; of its WAVECOM_ settings only where RabbitMQ and MongoDB are is used.

    Raises:
        StackError: something went wrong; says what, and where the logs are.
    """
    console = Console(highlight=False)
    ports = free_ports()
    providers = {channel: next(ports) for channel in LOCAL_PROVIDERS}
    environment = demo_environment(given, http_port=next(ports), grpc_port=next(ports), provider_ports=providers)
    stack = Stack(folder, environment, lambda line: console.print(line, markup=False, soft_wrap=True))
    stack.stop()  # what a killed demo left behind
    shutil.rmtree(folder.root, ignore_errors=True)
    try:
        state = start(stack, console.print, [_provider(folder, channel, port) for channel, port in providers.items()])
        asyncio.run(_show(console, state.api_url, folder))
    except StackError as error:
        raise StackError(f"The demo failed. {error}", f"The logs of all processes are in {folder.root}.") from error
    finally:
        console.print("\nStopping everything ...")
        with undisturbed():
            stack.stop()
    _print_where_to_go(console, folder)


def demo_environment(
    given: Mapping[str, str], *, http_port: int, grpc_port: int, provider_ports: Mapping[str, int]
) -> dict[str, str]:
    """What the demo's processes get: local providers where there are some, else simulated ones; short waits."""
    kept = {infra.RABBITMQ_URL, infra.MANAGEMENT_URL, infra.MONGODB_URL}
    return {name: value for name, value in given.items() if not name.startswith("WAVECOM_") or name in kept} | {
        "WAVECOM_HTTP_PORT": str(http_port),
        "WAVECOM_GRPC_PORT": str(grpc_port),
        "WAVECOM_MONGODB_DATABASE": "wavecom_demo",
        "WAVECOM_RETRY_BASE_DELAY_S": str(_RETRY_BASE_DELAY_S),
        **{
            name: value.format(port=port)
            for channel, port in provider_ports.items()
            for name, value in LOCAL_PROVIDERS[channel].environment.items()
        },
    }


def _provider(folder: RunFolder, channel: str, port: int) -> Program:
    module = LOCAL_PROVIDERS[channel].module
    command = [sys.executable, "-m", module, "--port", str(port), "--folder", str(_kept_in(folder, channel))]
    return Program(name=f"{channel}-provider", stage="providers", command=command)


def _kept_in(folder: RunFolder, channel: str) -> Path:
    return folder.root / "providers" / channel


async def _show(console: Console, api_url: str, folder: RunFolder) -> None:
    bodies = mixed_load(_COUNT, seed=int(time.time()))
    console.print(
        f"\nSending {_COUNT} notifications to POST {api_url}/api/notifications, {_PER_SECOND} a second.\n"
        f"Providers: {', '.join(map(_provider_shown, declared().values()))}. A failed attempt is retried\n"
        f"after {_RETRY_BASE_DELAY_S} s, then {2 * _RETRY_BASE_DELAY_S} s, three attempts in all "
        "(5 s, 10 s, ... outside of this demo).\n",
        soft_wrap=True,
    )
    async with Client(api_url) as client:
        notifications = await _send_and_watch(console, client, bodies)
        print_results(console, _by_channel(notifications))
        shown = most_telling(notifications)
        print_timeline(console, shown, await client.timeline(shown["id"]))
    for channel, provider in LOCAL_PROVIDERS.items():
        print_kept(console, provider, _kept_in(folder, channel))


def _provider_shown(channel: Channel) -> str:
    if channel.local_provider is not None:
        return f"{channel.name} to a local server"
    success_rate = settings_of(channel).model_fields["simulated_success_rate"].default
    return f"{channel.name} simulated ({success_rate:.0%} succeed)"


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
        f"  {folder.root}  this demo's logs, and what local servers kept",
        markup=False,
        soft_wrap=True,
    )
