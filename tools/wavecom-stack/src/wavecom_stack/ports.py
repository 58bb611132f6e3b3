"""TCP ports on the loopback interface."""

import os
import random
import socket
from collections.abc import Iterator
from typing import Final

import psutil

LOOPBACK = "127.0.0.1"

# Below the range from which the kernel takes ports for outgoing connections: a process that was killed has to
# find its port free when it comes back.
_CANDIDATES = range(20_000, 32_000)

# Which part of the candidates a process and its children draw from: `1/3` is the second of three. Between drawing a
# port and listening there another process could draw it, too, so those that run side by side are given parts.
PART: Final = "WAVECOM_PORTS_PART"
# Copies of a process listen on the ports that follow.
_COPIES = 10


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((host, port))
            candidate.listen(1)
        except OSError:
            return False
        return True


def is_listening(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((LOOPBACK, port)) == 0


def free_ports() -> Iterator[int]:
    """Ports nobody listens on, each given out once."""
    drawn_from = candidates(os.environ.get(PART, "0/1"))
    return (port for port in random.sample(drawn_from, len(drawn_from)) if is_free(port))


def candidates(part: str) -> range:
    """The ports of one part, such as `1/3`."""
    number, count = map(int, part.split("/"))
    size = len(_CANDIDATES) // count
    return _CANDIDATES[number * size : (number + 1) * size - _COPIES]


def listener(port: int) -> str | None:
    """Which process listens on a port, such as `node (pid 4711)`; None when that can't be seen."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
            if listens and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return None
    return None
