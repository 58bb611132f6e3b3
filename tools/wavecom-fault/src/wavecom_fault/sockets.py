"""Whose a TCP connection is, as Linux knows it: quick, since it is asked for every new connection of a partition.

Source: sock_diag(7), proc_pid_fd(5)
"""

import errno
import os
import socket
import struct
from collections.abc import Collection
from contextlib import suppress
from typing import Final

_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_ERROR: Final = 2
_ANY: Final = 0xFFFFFFFF
_LOOPBACK: Final = socket.inet_aton("127.0.0.1") + bytes(12)
# Of an answer: a header of 16 bytes, and 68 until the number by which a process holds the socket.
_INODE_AT: Final = 84


def owned(ports: Collection[int], server_port: int, pids: Collection[int]) -> Collection[int]:
    """Of these local ports those from which one of the processes has a connection to the server.

    Raises:
        OSError: the kernel does not tell (its module tcp_diag is missing).
    """
    held = {inode for pid in pids for inode in _sockets(pid)}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        return {port for port in ports if _inode(kernel, port, server_port) in held}


def _inode(kernel: socket.socket, port: int, server_port: int) -> int | None:
    """The number of the client's end of a connection on the loopback interface; None when there is none."""
    ends = struct.pack(">HH", port, server_port) + _LOOPBACK + _LOOPBACK + struct.pack("=III", 0, _ANY, _ANY)
    request = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _ANY) + ends
    kernel.send(struct.pack("=IHHII", 16 + len(request), _BY_FAMILY, 1, 1, 0) + request)
    answer = kernel.recv(4096)
    kind, number = struct.unpack_from("=H", answer, 4)[0], struct.unpack_from("=i", answer, 16)[0]
    if kind == _ERROR:
        if number == -errno.ENOENT:
            return None
        raise OSError(-number, "the kernel does not tell whose a connection is")
    return int(struct.unpack_from("=I", answer, _INODE_AT)[0])


def _sockets(pid: int) -> Collection[int]:
    """The numbers of its sockets; none of a process that has ended."""
    found = []
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                target = os.readlink(entry.path)
                if target.startswith("socket:["):
                    found.append(int(target[8:-1]))
    return found
