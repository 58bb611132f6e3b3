"""What a key stands for whose record was withdrawn: what senders have of it, or something new."""

import asyncio
import json
from dataclasses import replace

import pytest
from ingest_api.routes import BATCH, NOTIFICATIONS
from prometheus_client import REGISTRY
from wavecom_common.kernel.errors import Unavailable

SMS = {"recipient": "+2348012345678", "message": "Hello", "channel": "sms", "priority": "high"}


def accepted():
    labels = {"channel": "sms", "priority": "high"}
    return REGISTRY.get_sample_value("wavecom_notifications_accepted_total", labels) or 0


@pytest.fixture
def post(client):
    async def posted(body=SMS, path=NOTIFICATIONS):
        headers = {"Idempotency-Key": "key", "Content-Type": "application/json"}
        return await client.post(path, content=json.dumps(body).encode(), headers=headers)

    return posted


@pytest.fixture
def withdrawn(post, keys, pipeline):
    """Ask for something, and forget its answer: its record is withdrawn, as another process left it."""

    async def make(body=SMS, path=NOTIFICATIONS):
        await post(body, path)
        [(record_id, answered)] = keys.records.items()
        record = keys.records[record_id] = replace(answered, answer=None, withdrawn=True)
        pipeline.events.clear()
        return record_id, record

    return make


async def test_what_a_sender_has_is_the_key_s_answer_and_is_counted_now(post, withdrawn, keys, ledger, pipeline):
    record_id, record = await withdrawn()
    ledger.claimed.update(record.notification_ids)
    before = accepted()
    answer = await post()

    assert (answer.status_code, answer.headers["idempotent-replayed"]) == (201, "true")
    assert [answer.json()["data"]["id"]] == list(record.notification_ids)
    assert keys.records[record_id].answer is not None
    assert accepted() - before == 1
    # Nothing is published: the senders have it already.
    assert pipeline.events == []
    again = await post()
    assert again.content == answer.content
    assert accepted() - before == 1


async def test_of_which_senders_have_nothing_it_stands_for_something_new(post, withdrawn, keys, ledger, pipeline):
    record_id, record = await withdrawn()
    before = accepted()
    answer = await post()

    assert answer.status_code == 201
    assert "idempotent-replayed" not in answer.headers
    [event] = pipeline.events
    assert event.notification_id == answer.json()["data"]["id"]
    assert event.notification_id not in record.notification_ids
    assert ledger.withdrawn == set(record.notification_ids)
    assert keys.records[record_id].notification_ids == [event.notification_id]
    assert keys.records[record_id].fingerprint == record.fingerprint
    assert accepted() - before == 1


async def test_of_a_batch_what_senders_have_is_accepted_and_the_rest_refused(post, withdrawn, ledger):
    batch = {"notifications": [SMS, SMS]}
    _, record = await withdrawn(batch, BATCH)
    ledger.claimed.add(record.notification_ids[1])
    before = accepted()
    answer = await post(batch, BATCH)

    assert answer.status_code == 207
    assert [one["status"] for one in answer.json()["data"]["results"]] == ["error", "success"]
    assert accepted() - before == 1


async def test_another_body_is_refused_before_anything_is_withdrawn(post, withdrawn, ledger):
    await withdrawn()
    answer = await post(SMS | {"message": "Bye"})

    assert answer.status_code == 422
    assert ledger.calls == 0


@pytest.mark.parametrize("what", ["ledger", "keys", "expired", "withdrawn again"])
async def test_what_cannot_be_resolved_now_is_refused_and_can_be_repeated(post, withdrawn, keys, ledger, what):
    record_id, record = await withdrawn()
    renew = keys.renew

    async def renewed(*_):
        if what == "keys":
            raise Unavailable("away")
        return None if what == "expired" else replace(record, withdrawn=True)

    if what == "ledger":
        ledger.failure = Unavailable("away")
    else:
        keys.renew = renewed
    refused = await post()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "could not be looked up now" in refused.json()["message"]
    ledger.failure, keys.renew = None, renew
    assert (await post()).status_code == 201
    assert keys.records[record_id].notification_ids != record.notification_ids


async def test_another_process_that_answered_meanwhile_is_first(post, withdrawn, keys, ledger):
    _, record = await withdrawn()
    ledger.claimed.update(record.notification_ids)
    complete = keys.complete
    before = accepted()

    async def second(record_id, record, answer):
        await complete(record_id, record, answer)
        return keys.records[record_id]

    keys.complete = second
    answer = await post()
    assert answer.status_code == 201
    # Whoever stored it has counted it.
    assert accepted() == before


async def test_a_record_that_is_not_resolved_in_time_is_refused(post, withdrawn, keys):
    await withdrawn()

    async def never(*_):
        await asyncio.Event().wait()

    keys.renew = never
    refused = await post()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")


async def test_a_key_that_is_not_looked_up_in_time_is_refused(post, keys, pipeline):
    async def never(*_):
        await asyncio.Event().wait()

    keys.reserve = never
    refused = await post()
    assert refused.status_code == 503
    assert pipeline.events == []
