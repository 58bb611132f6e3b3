"""The outside of the POSTs, as a plain ASGI application.

FastAPI's own way to an endpoint (middleware, routing, body, dependencies, encoders) costs several times what these
do in all. What they take is declared in `channels`, what they give in `answers`; `openapi` documents both.
"""

import time
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from wavecom_common.telemetry import metrics
from wavecom_common.telemetry.logs import get_logger

from ingest_api.body import ClientGone
from ingest_api.errors import Refusal, error_response

_log = get_logger()


class Endpoint:
    """Sends what `answer` returns, or the refusal it raises."""

    def __init__(self, answer: Callable[[Scope, Receive], Awaitable[Response]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, whatever it holds, has one answer; one that is not complete has none."""
        started_s = time.perf_counter()
        try:
            response = await self._answer(scope, receive)
        except ClientGone:
            return
        except Refusal as refusal:
            metrics.REFUSED.labels(refusal.reason).inc()
            response = refusal.response()
        except Exception:  # noqa: BLE001 - the outermost place: a defect is logged and answered in our envelope
            _log.exception("post_failed")
            response = error_response(500, "Internal server error")
        metrics.ACCEPT_SECONDS.labels(response.status_code).observe(time.perf_counter() - started_s)
        await response(scope, receive, send)
