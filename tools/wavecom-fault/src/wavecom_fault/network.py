"""The network between servers of one kind: one of them can be cut off from the others, while clients reach them all."""

from collections.abc import Callable, Collection, Mapping, Set
from functools import partial
from typing import Final

from wavecom_common.testing.tcp_proxy import TcpProxy

from wavecom_fault.sockets import owned


class Network:
    """Proxies in front of the servers, by the servers' names: others reach a server through its proxy.

    A proxy sees only the port a connection comes from; whose it is, the operating system knows.
    """

    def __init__(self, proxies: Mapping[str, TcpProxy], pid: Callable[[str], int | None]) -> None:
        """`pid` is the process of a server now; None when it has none."""
        self._proxies: Final = proxies
        self._pid = pid

    def cut_off(self, name: str) -> None:
        """Lose every packet between this server and the others, both ways."""
        for server, proxy in self._proxies.items():
            others = self._proxies.keys() - {name} if server == name else {name}
            proxy.partition(partial(self._from, others, proxy.port))

    def join(self) -> None:
        """End that."""
        for proxy in self._proxies.values():
            proxy.partition(None)

    def _from(self, servers: Set[str], proxy_port: int, ports: Collection[int]) -> Collection[int]:
        return owned(ports, proxy_port, [pid for pid in map(self._pid, servers) if pid is not None])
