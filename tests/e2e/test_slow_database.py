"""A slow database: every step is nearly as slow as it may be, and the answer comes in time all the same."""

from time import perf_counter

import pytest
from ingest_api.accept import CONCLUDE_S

from tests.e2e.stage import KEY, PATH, Stage, api
from tests.proxied import proxied

pytestmark = [pytest.mark.connected, pytest.mark.timeout(120)]

ACCEPT_TIMEOUT_S = 2.0
# Of each way; so one step takes less than the time to accept, and three of them take more than all there is.
DELAY_S = 0.9
EMAIL = {"recipient": "user@example.com", "channel": "email", "subject": "Large"}


async def test_a_large_batch_with_a_key_is_answered_within_the_time_that_all_its_steps_share(
    stage: Stage, mongodb_url: str, unused_tcp_port: int
) -> None:
    # Each is of more than is sent in an event, so they are stored before; together they are one step on the link.
    items = [EMAIL | {"message": str(number) * 10_000} for number in range(3)]
    async with (
        proxied(mongodb_url) as (database, url),
        api(stage, unused_tcp_port, WAVECOM_MONGODB_URL=url, WAVECOM_ACCEPT_TIMEOUT_S=str(ACCEPT_TIMEOUT_S)) as (
            _,
            client,
        ),
    ):
        # With the connections there.
        warm = await client.post(f"{PATH}/batch", json={"notifications": items}, headers={"Idempotency-Key": "warm"})
        assert warm.status_code == 201
        database.delay_s = DELAY_S
        begun_s = perf_counter()
        slow = await client.post(f"{PATH}/batch", json={"notifications": items}, headers=KEY)
        took_s = perf_counter() - begun_s
        database.delay_s = 0.0
        again = await client.post(f"{PATH}/batch", json={"notifications": items}, headers=KEY)

    assert (slow.status_code, slow.headers["retry-after"]) == (503, "1")
    assert took_s < ACCEPT_TIMEOUT_S + CONCLUDE_S + 1
    assert again.status_code == 201
