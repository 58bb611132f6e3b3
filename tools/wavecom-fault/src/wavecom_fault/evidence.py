"""What the broker says of itself while nothing moves, by its own commands."""

import asyncio
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wavecom_common.kernel.clock import SYSTEM_CLOCK
from wavecom_stack.rabbitmq import PrivateBroker

_COMMAND_S: Final = 30
# Of a line of `quorum_status`: the node's name, something between two columns, and its Raft state.
_MEMBER: Final = re.compile(r"@\S+\s+\S+\s+\w+\s")
_LEADER: Final = re.compile(r"@\S+\s+\S+\s+leader\s")
# The process without which a node passes on nothing that has waited, and which does not come back by itself once it has
# ended: `undefined` where it has. Source: https://github.com/rabbitmq/rabbitmq-server/issues/16652
_DEAD_LETTERS: Final = "whereis(rabbit_fifo_dlx_sup)."


@dataclass(frozen=True, slots=True)
class Evidence:
    """One look: when it began, and the queues that had no leader then. What could not be read is not among them."""

    at_ms: int
    leaderless: Sequence[str]


async def take(nodes: Sequence[PrivateBroker], queues: Sequence[str], file: Path) -> Evidence:
    """Ask the first of these nodes for the cluster's status and that of the queues, and each whether it dead-letters.

    All at once; the answers are added to the file.
    """
    first, at_ms = nodes[0], SYSTEM_CLOCK.now_ms()
    asked = [(first, ["rabbitmqctl", "cluster_status"])]
    asked += [(first, ["rabbitmq-queues", "quorum_status", queue]) for queue in queues]
    asked += [(node, ["rabbitmqctl", "eval", _DEAD_LETTERS]) for node in nodes]
    answers = await asyncio.gather(*[_run(node, command) for node, command in asked])
    pages = [
        f"$ {' '.join(command)}  # of {node.node}\n{answer}\n"
        for (node, command), answer in zip(asked, answers, strict=True)
    ]
    await asyncio.to_thread(_add, file, "\n".join(pages))
    return Evidence(at_ms, [queue for queue, answer in zip(queues, answers[1:], strict=False) if is_leaderless(answer)])


def _add(file: Path, text: str) -> None:
    with file.open("a") as answers:
        answers.write(text)


def is_leaderless(quorum_status: str) -> bool:
    """Whether it shows the queue's members, and none that leads. An error or no answer shows nothing."""
    return _MEMBER.search(quorum_status) is not None and _LEADER.search(quorum_status) is None


async def _run(node: PrivateBroker, command: Sequence[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        str(node.server.with_name(command[0])),
        "--silent",
        "--timeout",
        str(_COMMAND_S),
        *command[1:],
        env=os.environ | node.environment() | {"TERM": "dumb", "LC_ALL": "C.UTF-8"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(_COMMAND_S + 15):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"no answer within {_COMMAND_S + 15} s"
    return output.decode(errors="replace")
