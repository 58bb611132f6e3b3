"""The ASGI application: FastAPI with our routes and envelope, and the straight way to the POST."""

from collections.abc import Sequence
from functools import cache
from typing import Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from wavecom_common.kernel.clock import Clock

from ingest_api import tracing
from ingest_api.failures import answer_failures
from ingest_api.openapi import describe
from ingest_api.routes import NOTIFICATIONS
from ingest_api.routes.create import CreateNotification
from ingest_api.routes.health import add_health
from ingest_api.routes.queries import add_queries
from ingest_api.status_client import StatusReader

_DESCRIPTION: Final = "Delivers e-mail, SMS and push notifications, and tells how far each one has come."


def create_app(
    create: CreateNotification, reader: StatusReader, clock: Clock, *, cors_origins: Sequence[str], traced: bool
) -> ASGIApp:
    """Everything the public port answers."""
    api = FastAPI(
        title="WaveCom",
        version="1.0.0",
        description=_DESCRIPTION,
        redirect_slashes=False,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    api.router.routes.append(Route(NOTIFICATIONS, create, methods=["POST"]))
    add_queries(api, reader)
    add_health(api, clock)
    answer_failures(api)
    api.add_middleware(
        CORSMiddleware,
        allow_origins=cors_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["Location", "Retry-After"],
    )
    api.openapi = cache(lambda: describe(api))  # type: ignore[method-assign]
    if traced:
        tracing.instrument(api)
        return _Shortcut(tracing.ServerSpan(create, route=NOTIFICATIONS), api)
    return _Shortcut(create, api)


class _Shortcut:
    """Takes POSTs that come from no browser past the framework, whose way to the same endpoint costs more than it."""

    def __init__(self, post: ASGIApp, rest: ASGIApp) -> None:
        self._post = post
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._post if _is_plain_post(scope) else self._rest)(scope, receive, send)


def _is_plain_post(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope["method"] == "POST"
        and scope["path"] == NOTIFICATIONS
        and all(name != b"origin" for name, _ in scope["headers"])
    )
