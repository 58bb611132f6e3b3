"""TCP ports on the loopback interface."""

import random
import socket
from collections.abc import Iterator

import psutil

LOOPBACK = "127.0.0.1"

# Below the range from which the kernel takes ports for outgoing connections: a process that was killed has to
# find its port free when it comes back.
_CANDIDATES = range(20_000, 32_000)


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
    candidates = random.sample(_CANDIDATES, len(_CANDIDATES))
    return (port for port in candidates if is_free(port))


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
