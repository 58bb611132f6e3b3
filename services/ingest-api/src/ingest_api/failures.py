"""Every answer of FastAPI that is not ours to begin with, in our envelope."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.telemetry.logs import get_logger

from ingest_api.errors import RETRY_SOON_S, Refusal, error_response, invalid
from ingest_api.validation import field_error

_log = get_logger()


def answer_failures(app: FastAPI) -> None:
    """Register a handler for each kind of failure."""
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _wrong_parameter)
    app.add_exception_handler(HTTPException, _no_such_route)
    app.add_exception_handler(Unavailable, _unavailable)
    app.add_exception_handler(Exception, _failed)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response()


async def _wrong_parameter(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return invalid([field_error(str(details["loc"][-1]), details) for details in error.errors()]).response()


async def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = ", ".join(_allowed_methods(request))
        return error_response(405, f"Method not allowed; use {allowed}", headers={"allow": allowed})
    message = "Not found" if error.status_code == 404 else str(error.detail)
    return error_response(error.status_code, message, headers=dict(error.headers or {}))


def _allowed_methods(request: Request) -> list[str]:
    """Those of every route to the path, and of one of its very name before one with a parameter in its place.

    The framework only looks at the first.
    """
    routes = [
        route
        for route in request.app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    ]
    named = [route for route in routes if route.path == request.scope["path"]]
    return sorted(method for route in named or routes for method in route.methods or ())


async def _unavailable(_: Request, error: Exception) -> Response:
    _log.warning("query_unavailable", error=str(error))
    return error_response(
        503, "Notifications cannot be looked up now; try again", headers={"retry-after": str(RETRY_SOON_S)}
    )


async def _failed(request: Request, error: Exception) -> Response:
    # The framework raises it again, and the server logs it with its traceback.
    return error_response(500, "Internal server error")
