"""The ASGI application: who may call, FastAPI with our routes and envelope, and the straight way to the POSTs."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from wavecom_common.events.channels import CHANNELS
from wavecom_common.kernel.clock import Clock
from wavecom_common.telemetry import metrics

from ingest_api import tracing
from ingest_api.accept import Acceptor
from ingest_api.access import LOOPBACK_HOSTS, Access, AllowedHosts, AllowedOrigins
from ingest_api.body import MAX_BODY_BYTES
from ingest_api.errors import Refusal
from ingest_api.failures import answer_failures
from ingest_api.idempotency.header import REPLAYED_HEADER
from ingest_api.intake import MAX_MEMORY_BYTES, Intake, LimitedGets
from ingest_api.keyed import IdempotentRequests
from ingest_api.openapi import describe
from ingest_api.routes import BATCH, NOTIFICATIONS
from ingest_api.routes.batch import MAX_BATCH_BYTES, MAX_ITEMS, CreateBatch
from ingest_api.routes.create import CreateNotification
from ingest_api.routes.endpoint import Endpoint
from ingest_api.routes.health import add_health
from ingest_api.routes.pages import add_pages
from ingest_api.routes.queries import add_queries
from ingest_api.status_client import StatusReader

_DESCRIPTION: Final = f"Delivers notifications by {', '.join(CHANNELS)}, and says how far each one has come."


def create_app(
    acceptor: Acceptor,
    keyed: IdempotentRequests,
    reader: StatusReader,
    clock: Clock,
    *,
    traced: bool,
    cors_origins: Sequence[str] = (),
    allowed_hosts: Sequence[str] = LOOPBACK_HOSTS,
    intake: Intake | None = None,
) -> ASGIApp:
    """Everything the public port answers; `cors_origins` and `allowed_hosts` as `access` describes them."""
    intake = intake or Intake(MAX_MEMORY_BYTES)
    posts = {
        NOTIFICATIONS: Endpoint(
            CreateNotification(acceptor, keyed).answer, intake, max_bytes=MAX_BODY_BYTES, max_notifications=1
        ),
        BATCH: Endpoint(
            CreateBatch(acceptor, keyed).answer, intake, max_bytes=MAX_BATCH_BYTES, max_notifications=MAX_ITEMS
        ),
    }
    api = FastAPI(
        title="WaveCom",
        version="1.0.0",
        description=_DESCRIPTION,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        # Its own server spans would be there beside ours, with the path, the query and the client in them.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        generate_unique_id_function=lambda route: route.name,
    )
    for path, post in posts.items():
        api.router.routes.append(Route(path, post, methods=["POST"]))
    add_queries(api, reader)
    add_health(api, clock)
    add_pages(api)
    answer_failures(api)
    api.add_middleware(LimitedGets)
    origins = AllowedOrigins(cors_origins)
    if cors_origins:
        _add_cors(api, origins)
    api.openapi = cache(lambda: describe(api))  # type: ignore[method-assign]
    app = _Edge(Access(AllowedHosts(allowed_hosts), origins), posts, api)
    if not traced:
        return app
    paths = {route.path for route in api.routes if isinstance(route, Route) and "{" not in route.path}
    return tracing.ServerSpans(app, paths=paths)


def _add_cors(api: FastAPI, origins: AllowedOrigins) -> None:
    api.add_middleware(
        CORSMiddleware,
        allow_origins=["*"] if origins.every else origins.exact,
        allow_origin_regex=origins.pattern,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["Location", "Retry-After", REPLAYED_HEADER],
    )


class _Edge:
    """Refuses who may not call; takes POSTs past the framework, whose way to the same endpoint costs more than it.

    Those of other origins' pages go through the framework, for its CORS headers.
    """

    def __init__(self, access: Access, posts: Mapping[str, ASGIApp], rest: ASGIApp) -> None:
        self._access = access
        self._posts = posts
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            of_another_origin = self._access.check(scope)
        except Refusal as refusal:
            metrics.REFUSED.labels(refusal.reason).inc()
            await refusal.response()(scope, receive, send)
            return
        if scope["method"] == "POST" and not of_another_origin:
            await self._posts.get(scope["path"], self._rest)(scope, receive, send)
        else:
            await self._rest(scope, receive, send)
