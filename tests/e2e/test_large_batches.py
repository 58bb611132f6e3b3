"""Large notifications in large batches: what is accepted can be read by everyone who has to."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from wavecom_common.testing.waiting import eventually
from wavecom_stack.infra import Infra

from tests.system import dead_letters, running_system

# Just within the 4 MiB of a batch.
EACH = 60
POSTS = 5
NOTIFICATION = {
    "channel": "email",
    "recipient": "user@example.com",
    "message": "x" * 65_000,
    "metadata": {"note": "y" * 1_000},
}


@pytest.mark.timeout(180)
async def test_300_notifications_of_66_kb_are_delivered_though_no_message_could_hold_them(
    infra: Infra, management_url: str, tmp_path: Path
) -> None:
    # All of them may share a message as far as their number goes, and none of them is only referred to.
    more = {
        "WAVECOM_BATCH_MAX_EVENTS": "300",
        "WAVECOM_REFER_ABOVE_BYTES": "100000",
        "WAVECOM_BATCH_LINGER_MS": "1000",
    }
    with (
        running_system(infra, management_url, tmp_path, name="large", more=more) as system,
        httpx.Client(base_url=system.api_url, timeout=60) as api,
    ):

        def post(_: int) -> list[str]:
            answer = api.post("/api/notifications/batch", json={"notifications": [NOTIFICATION] * EACH})
            return [str(one["status"]) for one in answer.json()["data"]["results"]]

        with ThreadPoolExecutor(POSTS) as pool:
            accepted = Counter(status for statuses in pool.map(post, range(POSTS)) for status in statuses)
        assert accepted == {"success": EACH * POSTS}

        def sent() -> bool:
            found = api.get("/api/notifications", params={"status": "sent", "limit": 1}).json()
            return bool(found["data"]["pagination"]["total"] == EACH * POSTS)

        await eventually(sent, what="the delivery of all", timeout_s=60)
        assert await dead_letters(system.broker_url) == 0
