"""`POST /api/notifications/batch`: many notifications, each for itself."""

import json

import pytest
from ingest_api.answers import BatchAnswer, BatchErrorAnswer
from ingest_api.routes import BATCH
from ingest_api.routes.batch import MAX_BATCH_BYTES
from wavecom_common.events.routing import DISPATCHER_QUEUE
from wavecom_common.kernel.errors import Unavailable

EMAIL = {"recipient": "user@example.com", "message": "Hello", "channel": "email"}
SMS = {"recipient": "+2348012345678", "message": "Hello", "channel": "sms", "priority": "low"}
PUSH = {"recipient": "fcm-token-4f0c2d7e9a1b", "message": "Hello", "channel": "push", "priority": "high"}
WRONG = {"recipient": "private.person", "message": "Hello", "channel": "sms"}
JSON = {"Content-Type": "application/json"}
KEY = {"Idempotency-Key": "key-1"}


async def post(client, *items, **headers):
    return await client.post(BATCH, json={"notifications": items}, headers=headers)


async def test_all_are_accepted_and_answered_in_their_order(client, pipeline):
    answer = await post(client, EMAIL, SMS, PUSH)

    assert answer.status_code == 201
    assert answer.json() == {
        "status": "success",
        "message": "3 of 3 notifications created and queued for processing",
        "data": {
            "accepted": 3,
            "rejected": 0,
            "results": [
                {
                    "index": index,
                    "status": "success",
                    "data": {
                        "id": event.notification_id,
                        "recipient": item["recipient"],
                        "channel": item["channel"],
                        "status": "queued",
                        "createdAt": "2024-12-11T10:30:00.000Z",
                    },
                }
                for index, (item, event) in enumerate(zip((EMAIL, SMS, PUSH), pipeline.events, strict=True))
            ],
        },
    }
    assert (
        BatchAnswer.model_validate_json(answer.content).model_dump(by_alias=True, exclude_unset=True) == answer.json()
    )


async def test_a_wrong_one_is_named_by_its_index_and_the_others_are_accepted(client, pipeline):
    answer = await post(client, EMAIL, WRONG, 5, PUSH)

    assert answer.status_code == 207
    data = answer.json()["data"]
    assert (data["accepted"], data["rejected"]) == (2, 2)
    assert [(result["index"], result["status"]) for result in data["results"]] == [
        (0, "success"),
        (1, "error"),
        (2, "error"),
        (3, "success"),
    ]
    must = "must be a phone number in E.164 form such as +2348012345678: +, an assigned country code, the number"
    assert data["results"][1] == {
        "index": 1,
        "status": "error",
        "message": f"recipient {must}",
        "errors": [{"field": "recipient", "message": must}],
    }
    assert data["results"][2] == {
        "index": 2,
        "status": "error",
        "message": "The notification must be a JSON object with recipient, message and channel",
    }
    accepted = [result["data"]["id"] for result in data["results"] if result["status"] == "success"]
    assert accepted == [event.notification_id for event in pipeline.events]
    assert "private" not in answer.text


async def test_when_none_is_valid_the_call_is_refused_with_a_result_for_each(client, pipeline):
    answer = await post(client, WRONG, None)

    assert answer.status_code == 400
    assert answer.json()["status"] == "error"
    assert answer.json()["message"] == "None of the 2 notifications is valid"
    assert [result["index"] for result in answer.json()["data"]["results"]] == [0, 1]
    assert BatchErrorAnswer.model_validate_json(answer.content).data is not None
    assert pipeline.events == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([EMAIL], "The body must be a JSON object with notifications"),
        ({}, "Missing required fields: notifications"),
        ({"notifications": []}, "notifications must be an array of 1 to 1,000 notifications"),
        ({"notifications": {}}, "notifications must be an array of 1 to 1,000 notifications"),
        ({"notifications": None}, "notifications must be an array of 1 to 1,000 notifications"),
        ({"notifications": [EMAIL] * 1_001}, "notifications must be an array of 1 to 1,000 notifications"),
        ({"notifications": [EMAIL], "to": 1}, "The body must hold notifications and nothing else"),
    ],
)
async def test_what_is_no_batch_is_refused(client, pipeline, body, message):
    answer = await client.post(BATCH, json=body)

    assert (answer.status_code, answer.json()["message"]) == (400, message)
    assert pipeline.events == []


async def test_a_thousand_are_accepted_together(client, pipeline):
    answer = await post(client, *[EMAIL | {"metadata": {"n": n}} for n in range(1_000)])

    assert answer.status_code == 201
    ids = [result["data"]["id"] for result in answer.json()["data"]["results"]]
    assert ids == [event.notification_id for event in pipeline.events]
    assert len(set(ids)) == 1_000
    assert [event.content.metadata_json for event in pipeline.events] == [f'{{"n":{n}}}' for n in range(1_000)]


async def test_a_body_has_a_limit_of_its_own(client):
    body = json.dumps({"notifications": [EMAIL]}).encode()
    fits = await client.post(BATCH, content=body + b" " * (MAX_BATCH_BYTES - len(body)), headers=JSON)
    too_large = await client.post(BATCH, content=body + b" " * (MAX_BATCH_BYTES - len(body) + 1), headers=JSON)

    assert (fits.status_code, too_large.status_code) == (201, 413)
    assert too_large.json()["message"] == "The body must be at most 4,194,304 bytes"


async def test_what_is_not_confirmed_is_not_accepted(client, pipeline):
    pipeline.failure = Unavailable("x")
    answer = await post(client, EMAIL, WRONG)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_a_key_stands_for_the_whole_call(client, pipeline):
    first = await post(client, EMAIL, WRONG, {**SMS, "maxAttempts": 10**30}, PUSH, **KEY)
    again = await post(client, EMAIL, WRONG, {**SMS, "maxAttempts": 10**30}, PUSH, **KEY)
    other = await post(client, EMAIL, **KEY)

    assert (first.status_code, again.status_code, other.status_code) == (207, 207, 422)
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert len(pipeline.events) == 2


async def test_a_retry_of_a_batch_that_was_not_confirmed_is_the_same_notifications(client, pipeline, keys):
    pipeline.failure = Unavailable("x", handed_over=False)
    await post(client, WRONG, EMAIL, PUSH, **KEY)
    [record] = keys.records.values()
    pipeline.failure = None
    answer = await post(client, WRONG, EMAIL, PUSH, **KEY)

    assert answer.status_code == 207
    assert [event.notification_id for event in pipeline.events] == list(record.notification_ids[1:])


async def test_the_least_urgent_decides_whether_too_much_is_waiting(client, backlog):
    backlog.look({DISPATCHER_QUEUE: 50_000})

    assert (await post(client, PUSH, SMS)).status_code == 503
    assert (await post(client, PUSH, EMAIL)).status_code == 201
