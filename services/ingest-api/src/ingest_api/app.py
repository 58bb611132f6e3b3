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
    api.openapi = cache(lambda: describe(api))  # type: ignore[method-assign]
    post: ASGIApp = create
    if traced:
        tracing.instrument(api)
        post = tracing.ServerSpan(create, route=NOTIFICATIONS)
    return CORSMiddleware(
        _Edge(post, api),
        allow_origins=cors_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["Location", "Retry-After"],
    )


class _Edge:
    """Takes the POST past FastAPI, whose way to the same endpoint costs more than the endpoint itself."""

    def __init__(self, post: ASGIApp, rest: ASGIApp) -> None:
        self._post = post
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_post = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == NOTIFICATIONS
        await (self._post if is_post else self._rest)(scope, receive, send)
