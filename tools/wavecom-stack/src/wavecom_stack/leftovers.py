"""Processes of a stack that nobody supervises any more: what is left when a supervisor is killed."""

import os
from typing import Final

import psutil

from wavecom_stack.folder import RunFolder

# Every process of a stack inherits this variable from its supervisor.
MARK: Final = "WAVECOM_STACK_FOLDER"


def end_leftovers(folder: RunFolder, timeout_s: float = 20) -> int:
    """Terminate, then kill, every process that carries this folder's mark.

    Returns:
        How many there were.
    """
    found = [process for process in psutil.process_iter() if _belongs_to(process, folder)]
    for process in found:
        _send(process, force=False)
    _, alive = psutil.wait_procs(found, timeout=timeout_s)
    for process in alive:
        _send(process, force=True)
    psutil.wait_procs(alive, timeout=timeout_s)
    return len(found)


def _belongs_to(process: psutil.Process, folder: RunFolder) -> bool:
    try:
        marked = process.environ().get(MARK) == str(folder.root)
        return marked and process.pid != os.getpid()
    except psutil.Error:
        return False


def _send(process: psutil.Process, *, force: bool) -> None:
    try:
        process.kill() if force else process.terminate()
    except psutil.NoSuchProcess:
        return
