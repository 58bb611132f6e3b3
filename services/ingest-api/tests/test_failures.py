"""Whatever is asked for wrongly is answered in the envelope."""

import pytest
from ingest_api.routes import NOTIFICATIONS

ID = "675a1b2c3d4e5f6071829304"


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/docs/LICENSE",
        "/docs/..%2Fapp.py",
        "/api/notification",
        f"{NOTIFICATIONS}/",
        f"{NOTIFICATIONS}/{ID}/x",
        "/%00",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_path_that_is_not_there_is_not_found(client, method, path):
    answer = await client.request(method, path)

    assert answer.status_code == 404
    assert answer.json() == {"status": "error", "message": "Not found"}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (NOTIFICATIONS, "GET, POST"),
        (f"{NOTIFICATIONS}/{ID}", "GET"),
        (f"{NOTIFICATIONS}/{ID}/events", "GET"),
        ("/health", "GET"),
        ("/", "GET, HEAD"),
        ("/docs", "GET, HEAD"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
async def test_a_wrong_method_is_told_the_right_ones(client, method, path, allowed):
    answer = await client.request(method, path)

    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    assert answer.json() == {"status": "error", "message": f"Method not allowed; use {allowed}"}


async def test_a_defect_in_a_query_is_answered_in_the_envelope(client, pipeline):
    pipeline.failure = ZeroDivisionError("a secret")

    answer = await client.get(f"{NOTIFICATIONS}/{ID}")

    assert answer.status_code == 500
    assert answer.json() == {"status": "error", "message": "Internal server error"}
