"""Which hosts a request may name, and which web pages may send one. Decided before any other work.

A browser sends requests for every page it shows, also to addresses that only the browser's machine can reach. It names
the page's origin when another origin's answer may be read or changed (`Origin`), and the host as the page calls it
(`Host`), also where the page's own name was made to point here (DNS rebinding). So a host has to be one of ours, and an
origin has to be listed or be the host itself.
Source: RFC 9110, sections 7.2 and 7.4; https://fetch.spec.whatwg.org/#origin-header
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from starlette.types import Scope
from wavecom_common.hosting.hosts import host_name

from ingest_api.errors import Refusal

LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "[::1]")
ANY: Final = "*"
# Where the scope has the headers by name, for those who look at them later.
HEADERS: Final = "wavecom.headers"
# What may stand in WAVECOM_ALLOWED_HOSTS and in WAVECOM_CORS_ORIGINS.
HOST_PATTERN: Final = re.compile(r"\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]", re.IGNORECASE)
ORIGIN_PATTERN: Final = re.compile(
    r"\*|[a-z][a-z0-9+.-]*://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:(\d{1,5}|\*))?", re.IGNORECASE
)

_PORTS: Final = ":*"
# Decisions are remembered by what was sent; an attacker who sends ever new ones only displaces them.
_REMEMBERED: Final = 64
_ONCE: Final = (b"host", b"origin")


class AllowedHosts:
    """Names without a port: each holds for every port. `*.example.com` is every subdomain, `*` every host."""

    def __init__(self, names: Sequence[str]) -> None:
        self._any = ANY in names
        self._names = frozenset(name.lower().encode() for name in names)
        self._suffixes = tuple(name[1:].lower().encode() for name in names if name.startswith("*."))
        self.allows: Callable[[bytes], bool] = lru_cache(_REMEMBERED)(self._allows)

    def _allows(self, host: bytes) -> bool:
        name = host_name(host)
        return name is not None and (self._any or name in self._names or name.endswith(self._suffixes))


class AllowedOrigins:
    """Origins as browsers write them. `http://localhost:*` is every port, `*` every origin."""

    def __init__(self, origins: Sequence[str]) -> None:
        self.every = ANY in origins
        self.exact = [origin for origin in origins if origin != ANY and not origin.endswith(_PORTS)]
        of_every_port = [re.escape(origin[: -len(_PORTS)]) for origin in origins if origin.endswith(_PORTS)]
        self.pattern = rf"(?:{'|'.join(of_every_port)})(?::\d{{1,5}})?" if of_every_port else None
        self.allows: Callable[[bytes], bool] = lru_cache(_REMEMBERED)(self._allows)

    def _allows(self, origin: bytes) -> bool:
        text = origin.decode("latin-1")
        return self.every or text in self.exact or (self.pattern is not None and bool(re.fullmatch(self.pattern, text)))


class Access:
    """The rule for every request."""

    def __init__(self, hosts: AllowedHosts, origins: AllowedOrigins) -> None:
        self._hosts = hosts
        self._origins = origins

    def check(self, scope: Scope) -> bool:
        """Whether the request is one of a listed origin's pages, whose browser wants CORS headers in the answer.

        Raises:
            Refusal: 400 for a Host that is missing, none, or given twice; 421 for one that is not served; 403 for an
                origin that is neither listed nor the host itself.
        """
        scope[HEADERS] = headers = dict(scope["headers"])
        if len(headers) != len(scope["headers"]):
            _check_given_once(scope)
        host = headers.get(b"host")
        if host is None or not self._hosts.allows(host):
            _refuse_host(host, scope["http_version"])
        if b"origin" not in headers:
            return False
        origin = headers[b"origin"]
        if self._origins.allows(origin):
            return True
        # The scheme is the proxy's, which may have ended TLS; a page of ours on the other one has the same operator.
        if host is None or origin.lower() not in (b"http://" + host.lower(), b"https://" + host.lower()):
            raise Refusal(
                403,
                "Web pages of this origin may not call this API; the operator lists those that may in "
                "WAVECOM_CORS_ORIGINS",
                reason="origin",
            )
        return False


def _refuse_host(host: bytes | None, http_version: str) -> None:
    if host is None:
        # HTTP/1.0 has none, and no browser speaks it.
        if http_version == "1.0":
            return
        raise Refusal(400, "The Host header is missing", reason="invalid")
    if host_name(host) is None:
        raise Refusal(400, "The Host header must be a host name, with a port or without", reason="invalid")
    raise Refusal(
        421, "This host is not served here; the operator lists those that are in WAVECOM_ALLOWED_HOSTS", reason="host"
    )


def _check_given_once(scope: Scope) -> None:
    names = [name for name, _ in scope["headers"]]
    for name in _ONCE:
        if names.count(name) > 1:
            raise Refusal(400, f"The header {name.decode().title()} must be given once", reason="invalid")
