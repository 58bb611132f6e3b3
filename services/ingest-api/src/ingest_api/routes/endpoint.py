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

from ingest_api.body import ClientGone, announced_bytes
from ingest_api.errors import Refusal, error_response
from ingest_api.intake import Intake, memory_bytes

_log = get_logger()


class Endpoint:
    """Sends what `answer` returns, or the refusal it raises, within the intake's limits."""

    def __init__(
        self,
        answer: Callable[[Scope, Receive], Awaitable[Response]],
        intake: Intake,
        *,
        max_bytes: int,
        max_notifications: int,
    ) -> None:
        self._answer = answer
        self._intake = intake
        self._max_bytes = max_bytes
        self._max_notifications = max_notifications

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, whatever it holds, has one answer; one that is not complete has none."""
        started_s = time.perf_counter()
        try:
            body_bytes = announced_bytes(scope, self._max_bytes)
            with self._intake.admit(receive, memory_bytes(body_bytes, self._max_notifications)) as admitted:
                response = await self._answer(scope, admitted)
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
