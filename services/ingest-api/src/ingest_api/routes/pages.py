"""What a person sees: `GET /`, which says where everything is, and the API's documentation under `/docs`.

The pages load files of this package alone, and their Content-Security-Policy allows nothing else.
"""

from pathlib import Path
from typing import Final

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from ingest_api.routes import NOTIFICATIONS

FILES: Final = Path(__file__).parents[1] / "docs_page"
# Swagger UI's style sheet has images as data.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_LOADED: Final = ("swagger-ui-bundle.js", "swagger-ui.css", "docs.js")
_AN_HOUR: Final = {"cache-control": "public, max-age=3600"}
_PLACES: Final = {"notifications": NOTIFICATIONS, "docs": "/docs", "openapi": "/openapi.json", "health": "/health"}
_ROOT: Final = orjson.dumps(
    {"status": "success", "message": "WaveCom Notification System: see docs for what it takes", "data": _PLACES}
)


def add_pages(api: FastAPI) -> None:
    """Add the routes. They are not in the OpenAPI document, which describes the API."""
    api.router.routes.append(Route("/", _root, methods=["GET"]))
    api.router.routes.append(Route("/docs", _docs, methods=["GET"]))
    api.router.routes.extend(Route(f"/docs/{name}", _loaded, methods=["GET"]) for name in _LOADED)


async def _root(request: Request) -> Response:
    vary = {"vary": "accept"}
    if "text/html" in request.headers.get("accept", ""):
        return FileResponse(FILES / "root.html", headers=HEADERS | vary)
    return Response(_ROOT, media_type="application/json", headers=vary)


async def _docs(request: Request) -> Response:
    return FileResponse(FILES / "docs.html", headers=HEADERS)


async def _loaded(request: Request) -> Response:
    return FileResponse(FILES / request.url.path.rpartition("/")[2], headers=HEADERS | _AN_HOUR)
