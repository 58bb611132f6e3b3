"""What an operator and a cluster ask a process: is it alive, is it ready, does it serve, what are its figures."""

from collections.abc import Callable, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wavecom_common.hosting.hosts import OnlyByAddress

Reasons = Callable[[], Sequence[str]]


def admin_app(not_ready: Reasons, not_serving: Reasons) -> Starlette:
    """`/health/live`, `/health/ready` and `/health/serving` (503 with the reasons while there are any), `/metrics`.

    Ready is what can do all of its work. Serving is what answers at all, though it may have to answer 503 to some: what
    is taken out of a load balancer for a broker that is away would do away with everything that needs no broker, too.
    """

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_: Request) -> Response:
        return _answer("ready", not_ready())

    async def serving(_: Request) -> Response:
        return _answer("serving", not_serving())

    async def figures(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/health/live", live),
            Route("/health/ready", ready),
            Route("/health/serving", serving),
            Route("/metrics", figures),
        ],
        middleware=[Middleware(OnlyByAddress)],
    )


def _answer(what: str, reasons: Sequence[str]) -> Response:
    return JSONResponse({what: not reasons, "reasons": list(reasons)}, status_code=503 if reasons else 200)
