"""What an operator and a cluster ask a process: is it alive, is it ready, what are its figures."""

from collections.abc import Callable, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def admin_app(reasons: Callable[[], Sequence[str]]) -> Starlette:
    """`/health/live`, `/health/ready` (503 with the reasons while there are any) and `/metrics`."""

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_: Request) -> Response:
        found = list(reasons())
        return JSONResponse({"ready": not found, "reasons": found}, status_code=503 if found else 200)

    async def figures(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/health/live", live), Route("/health/ready", ready), Route("/metrics", figures)])
