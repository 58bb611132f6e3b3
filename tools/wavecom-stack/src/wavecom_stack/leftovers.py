"""Processes of a stack that nobody supervises any more: what is left when a supervisor is killed."""

import contextlib
import os
from collections.abc import Sequence
from typing import Final

import psutil

from wavecom_stack.errors import StackError
from wavecom_stack.folder import RunFolder
from wavecom_stack.waiting import wait_until

# Every process of a stack inherits this variable from its supervisor.
MARK: Final = "WAVECOM_STACK_FOLDER"


def end_leftovers(folder: RunFolder, timeout_s: float = 20) -> int:
    """Terminate, then kill, every process that carries this folder's mark.

    Returns:
        How many there were.
    """
    return end_marked(MARK, str(folder.root), timeout_s)


def end_marked(variable: str, value: str, timeout_s: float = 20) -> int:
    """Terminate, then kill, every process that was started with this variable in its environment.

    Returns:
        How many there were.
    """
    found = [process for process in psutil.process_iter() if _is_marked(process, variable, value)]
    for process in found:
        _send(process, force=False)
    alive = wait_for_end(found, timeout_s)
    for process in alive:
        _send(process, force=True)
    wait_for_end(alive, timeout_s)
    return len(found)


def wait_for_end(processes: Sequence[psutil.Process], timeout_s: float) -> Sequence[psutil.Process]:
    """Wait until these processes have ended.

    One that nobody collects counts as ended: in a container the first process may never do so.

    Returns:
        Those that still run after `timeout_s`.
    """
    alive = list(processes)

    def check() -> str | None:
        alive[:] = [process for process in alive if _runs(process)]
        return "processes still run" if alive else None

    with contextlib.suppress(StackError):
        wait_until(check, timeout_s=timeout_s)
    return alive


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _is_marked(process: psutil.Process, variable: str, value: str) -> bool:
    try:
        return process.environ().get(variable) == value and process.pid != os.getpid()
    except psutil.Error:
        return False


def _send(process: psutil.Process, *, force: bool) -> None:
    try:
        process.kill() if force else process.terminate()
    except psutil.NoSuchProcess:
        return
