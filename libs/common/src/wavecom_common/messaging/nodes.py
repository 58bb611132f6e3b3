"""The broker's URL, which may name several nodes of a cluster: `amqp://user:password@n1:5672,n2:5672,n3:5672/vhost`.

AMQP 0-9-1 has no form for several hosts; this is the one MongoDB's URLs have. User, password and virtual host are the
same on every node. Source: https://www.rabbitmq.com/docs/uri-spec
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from wavecom_common.kernel.errors import ConfigurationError

_PORTS: Final = {"amqp": 5672, "amqps": 5671}
_PARTS: Final = re.compile(r"(amqps?)://([^/?#]*)(.*)")
_FORM: Final = "amqp://user:password@host:port,host:port/vhost"


@dataclass(frozen=True, slots=True)
class Node:
    """One node: host:port, and the URL for it alone, which holds the password."""

    name: str
    url: str = field(repr=False)


@lru_cache(maxsize=16)
def nodes_of(url: str) -> Sequence[Node]:
    """The nodes that a broker's URL names, in its order.

    Raises:
        ConfigurationError: it is malformed; the text holds nothing of it, since it may hold a password.
    """
    parts = _PARTS.fullmatch(url)
    if parts is None:
        raise _malformed("begins with amqp:// or amqps://")
    scheme, authority, rest = parts.groups()
    login, at, hosts = authority.rpartition("@")
    if "," in rest or ("@" in login and "," in login):
        raise _malformed("has user and password once, before all hosts, and the virtual host once, behind them")
    return tuple(Node(_name(scheme, host), f"{scheme}://{login}{at}{host}{rest}") for host in hosts.split(","))


def in_turn(nodes: Sequence[Node], *, first: int, failed: Mapping[str, float]) -> Sequence[Node]:
    """The nodes from number `first` on and round, behind them those that failed, the latest last.

    `failed` has the times of failures by the names of nodes.
    """
    start = first % len(nodes)
    return sorted([*nodes[start:], *nodes[:start]], key=lambda node: failed.get(node.name, float("-inf")))


def _name(scheme: str, host: str) -> str:
    try:
        name, port = urlsplit(f"//{host}").hostname, urlsplit(f"//{host}").port
    except ValueError:
        raise _malformed("has a port from 1 to 65535 behind each host, or none") from None
    if not name or port == 0:
        raise _malformed("has a host between any two commas")
    address = f"[{name}]" if ":" in name else name
    return f"{address}:{port or _PORTS[scheme]}"


def _malformed(what: str) -> ConfigurationError:
    return ConfigurationError(f"WAVECOM_RABBITMQ_URL: a broker's URL {what}; its form is {_FORM}")
