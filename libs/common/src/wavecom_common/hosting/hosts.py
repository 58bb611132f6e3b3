"""The host a request names: that of a page whose own name was made to point here (DNS rebinding) is another one.

Source: RFC 9110, section 7.2
"""

import ipaddress
import re
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HOST_HEADER: Final = re.compile(rb"(\[[0-9a-f:.]+\]|[a-z0-9._~%-]+)(:\d{0,5})?")


class OnlyByAddress:
    """Middleware: answers 421 to who names another host than `localhost` or an IP address.

    Probes and Prometheus call a pod by its address, and a rebound page needs a name. What has no `Host` passes, for no
    browser sends it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, or answer 421."""
        if all(is_address(value) for name, value in scope["headers"] if name == b"host"):
            await self._app(scope, receive, send)
        else:
            answer = PlainTextResponse("Only localhost and IP addresses are served here, no other names", 421)
            await answer(scope, receive, send)


def host_name(header: bytes) -> bytes | None:
    """The name in a Host header, in small letters and without a port; None when it is none. Pure."""
    match = _HOST_HEADER.fullmatch(header.lower())
    return match[1] if match else None


def is_address(header: bytes) -> bool:
    """Whether a Host header holds an IP address or `localhost`. Pure."""
    name = (host_name(header) or b"").strip(b"[]").decode()
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    return True
