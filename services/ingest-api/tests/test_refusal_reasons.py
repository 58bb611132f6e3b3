"""Under which reason a refusal is counted: what alerts and dashboards go by."""

import pytest
from ingest_api.routes import NOTIFICATIONS
from prometheus_client import REGISTRY
from wavecom_common.kernel.errors import Overloaded, Unavailable, Unroutable, WavecomError

SMS = {"recipient": "+2348012345678", "message": "Hello", "channel": "sms"}


@pytest.fixture
def counted():
    """`counted()`: how often each reason was counted since the test began."""

    def reasons() -> dict[str, float]:
        samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
        name = "wavecom_notifications_refused_total"
        return {sample.labels["reason"]: sample.value for sample in samples if sample.name == name}

    before = reasons()
    return lambda: {
        reason: count - before.get(reason, 0) for reason, count in reasons().items() if count > before.get(reason, 0)
    }


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Unavailable("x"), "unavailable"),
        (Overloaded("x"), "overloaded"),
        (Unroutable("x"), "unroutable"),
    ],
)
async def test_what_the_broker_refuses_is_counted_by_why(client, pipeline, counted, failure: Exception, reason: str):
    pipeline.failure = failure
    await client.post(NOTIFICATIONS, json=SMS)

    assert counted() == {reason: 1}


async def test_what_cannot_be_stored_is_counted_apart(client, payloads, counted):
    payloads.failure = Unavailable("x")
    await client.post(NOTIFICATIONS, json=SMS | {"message": "x" * 1001})

    assert counted() == {"payloads_unavailable": 1}


async def test_what_is_wrong_with_a_key_is_counted_by_what_it_is(client, keys, counted):
    await client.post(NOTIFICATIONS, json=SMS, headers={"Idempotency-Key": "key"})
    other = SMS | {"message": "Bye"}
    await client.post(NOTIFICATIONS, json=other, headers={"Idempotency-Key": "key"})
    await client.post(NOTIFICATIONS, json=SMS, headers={"Idempotency-Key": ""})
    keys.failure = Unavailable("x")
    await client.post(NOTIFICATIONS, json=SMS, headers={"Idempotency-Key": "another"})

    assert counted() == {"key_reused": 1, "invalid": 1, "keys_unavailable": 1}


async def test_an_error_that_does_not_say_whether_the_broker_has_it_is_withdrawn(client, pipeline, ledger):
    class Strange(WavecomError):
        """Of no publisher."""

    pipeline.failure = Strange("x")
    answer = await client.post(NOTIFICATIONS, json=SMS)

    assert answer.status_code == 503
    assert ledger.calls == 1
