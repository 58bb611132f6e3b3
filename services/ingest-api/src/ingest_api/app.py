"""The ASGI application: FastAPI with our routes and envelope, and the straight way to the POSTs."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from wavecom_common.kernel.clock import Clock

from ingest_api import tracing
from ingest_api.accept import Acceptor
from ingest_api.failures import answer_failures
from ingest_api.idempotency import REPLAYED_HEADER, IdempotentRequests
from ingest_api.openapi import describe
from ingest_api.routes import BATCH, NOTIFICATIONS
from ingest_api.routes.batch import CreateBatch
from ingest_api.routes.create import CreateNotification
from ingest_api.routes.endpoint import Endpoint
from ingest_api.routes.health import add_health
from ingest_api.routes.queries import add_queries
from ingest_api.status_client import StatusReader

_DESCRIPTION: Final = "Delivers e-mail, SMS and push notifications, and tells how far each one has come."


def create_app(
    acceptor: Acceptor,
    keyed: IdempotentRequests,
    reader: StatusReader,
    clock: Clock,
    *,
    cors_origins: Sequence[str],
    traced: bool,
) -> ASGIApp:
    """Everything the public port answers."""
    posts = {
        NOTIFICATIONS: Endpoint(CreateNotification(acceptor, keyed).answer),
        BATCH: Endpoint(CreateBatch(acceptor, keyed).answer),
    }
    api = FastAPI(
        title="WaveCom",
        version="1.0.0",
        description=_DESCRIPTION,
        redirect_slashes=False,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    for path, post in posts.items():
        api.router.routes.append(Route(path, post, methods=["POST"]))
    add_queries(api, reader)
    add_health(api, clock)
    answer_failures(api)
    api.add_middleware(
        CORSMiddleware,
        allow_origins=cors_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["Location", "Retry-After", REPLAYED_HEADER],
    )
    api.openapi = cache(lambda: describe(api))  # type: ignore[method-assign]
    if traced:
        tracing.instrument(api)
        return _Shortcut({path: tracing.ServerSpan(post, route=path) for path, post in posts.items()}, api)
    return _Shortcut(posts, api)


class _Shortcut:
    """Takes POSTs that come from no browser past the framework, whose way to the same endpoint costs more than it."""

    def __init__(self, posts: Mapping[str, ASGIApp], rest: ASGIApp) -> None:
        self._posts = posts
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and not _from_browser(scope):
            await self._posts.get(scope["path"], self._rest)(scope, receive, send)
        else:
            await self._rest(scope, receive, send)


def _from_browser(scope: Scope) -> bool:
    return any(name == b"origin" for name, _ in scope["headers"])
