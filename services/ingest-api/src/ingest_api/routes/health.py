"""`GET /health`: the API server runs. The admin port's `/health/ready` says whether it can do its work."""

from fastapi import FastAPI
from starlette.responses import Response
from wavecom_common.kernel.clock import Clock

from ingest_api.answers import HealthAnswer
from ingest_api.responses import json_response
from ingest_api.times import iso


def add_health(api: FastAPI, clock: Clock) -> None:
    """Add the route."""

    @api.get("/health", tags=["health"], response_model=HealthAnswer)
    async def get_health() -> Response:
        """Whether the API server runs."""
        return json_response(
            HealthAnswer(
                status="success",
                message="WaveCom Notification System is running",
                timestamp=iso(clock.now_ms()),
            )
        )
