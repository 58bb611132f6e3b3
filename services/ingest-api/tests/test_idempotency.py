"""`Idempotency-Key`: what is accepted once, however often it is asked for."""

import asyncio
import json

import pytest
from ingest_api.app import create_app
from ingest_api.intake import MAX_MEMORY_BYTES, Intake
from ingest_api.keyed import IdempotentRequests
from ingest_api.routes import NOTIFICATIONS
from wavecom_common.kernel.errors import Unavailable

BODY = {"recipient": "user@example.com", "message": "Hello", "channel": "email", "metadata": {"a": 1, "b": [2.5, None]}}
WRONG = "Idempotency-Key must be given once, as 1 to 255 characters of printable ASCII, with or without quotes"
REUSED = "The Idempotency-Key was used before with another body"


async def post(client, key, body=BODY, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post(
        NOTIFICATIONS, content=content, headers={"Idempotency-Key": key, "Content-Type": "application/json", **headers}
    )


async def test_the_same_request_again_has_the_same_answer_and_nothing_more_happens(client, pipeline):
    first = await post(client, "key-1")
    again = await post(client, "key-1")

    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len(pipeline.events) == 1


async def test_the_order_of_keys_and_white_space_make_no_other_body(client):
    first = await post(client, "key-1")
    shuffled = dict(reversed(BODY.items())) | {"metadata": {"b": [2.5, None], "a": 1}}
    again = await post(client, "key-1", json.dumps(shuffled, indent=4).encode())

    assert again.content == first.content


async def test_another_body_under_the_same_key_is_refused(client, pipeline):
    await post(client, "key-1")
    other = await post(client, "key-1", BODY | {"message": "Bye"})

    assert other.status_code == 422
    assert other.json() == {"status": "error", "message": REUSED}
    assert len(pipeline.events) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"metadata": {"a": 2, "b": [2.5, None]}},
        {"metadata": {}},
        {"recipient": "other@example.com"},
        {"priority": "high"},
        {"subject": "Hello"},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_a_body_that_differs_in_one_field_is_another(client, pipeline, other):
    await post(client, "key-1")
    answer = await post(client, "key-1", BODY | other)

    assert (answer.status_code, answer.json()["message"]) == (422, REUSED)
    assert len(pipeline.events) == 1


async def test_every_tenant_and_every_endpoint_has_keys_of_its_own(make_acceptor, pipeline, withdrawals, keys, clock):
    def record_id(tenant, path, key):
        requests = IdempotentRequests(make_acceptor(pipeline, tenant), withdrawals, keys, clock)
        return requests.record_id_of({"path": path, "headers": []}, key)

    said = [(tenant, path, key) for tenant in ("a", "b") for path in ("/one", "/two") for key in ("x", "y")]
    assert len({record_id(*one) for one in said}) == len(said)
    assert record_id("a", "/one", "x") == record_id("a", "/one", "x")


async def test_another_key_is_another_notification(client, pipeline):
    await post(client, "key-1")
    await post(client, "key-2")

    assert len({event.notification_id for event in pipeline.events}) == 2


async def test_a_key_is_the_same_with_quotes_and_without(client, pipeline):
    await post(client, "key-1")
    again = await post(client, '"key-1"')

    assert again.headers["idempotent-replayed"] == "true"
    assert len(pipeline.events) == 1


@pytest.mark.parametrize(
    "key",
    ["x", "a" * 255, f'"{"a" * 255}"', r'"\"\\"', "0b5c8b64-9a4e-4d0f-8d5f-1f0a4c7a9d3e", "two words", "key;a=1", "!~"],
)
async def test_a_key_is_255_printable_characters_at_most(client, key):
    assert (await post(client, key)).status_code == 201


@pytest.mark.parametrize(
    "key", ["", " ", '""', '"', '"x', '"x"y"', '"x";a=1', "a" * 256, f'"{"a" * 256}"', "schlüssel", "a\tb", r'"\x"']
)
async def test_what_is_no_key_is_refused_with_the_headers_name(client, pipeline, key):
    answer = await post(client, key.encode())

    assert answer.status_code == 400
    assert answer.json() == {"status": "error", "message": WRONG}
    assert pipeline.events == []


async def test_two_keys_are_refused(client):
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await client.post(NOTIFICATIONS, json=BODY, headers=headers)

    assert (answer.status_code, answer.json()["message"]) == (400, WRONG)


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
async def test_a_client_never_sees_anothers_answer(client, pipeline, header):
    ours = await post(client, "key-1", **{header: "ours"})
    theirs = await post(client, "key-1", BODY | {"message": "Bye"}, **{header: "theirs"})
    nobodys = await post(client, "key-1")
    again = await post(client, "key-1", **{header: "ours"})

    assert {ours.status_code, theirs.status_code, nobodys.status_code} == {201}
    assert len({event.notification_id for event in pipeline.events}) == 3
    assert again.content == ours.content


async def test_neither_key_nor_credentials_nor_address_is_kept_in_the_records_id(client, keys):
    await post(client, "private-key", Authorization="Bearer private-token")

    [record_id] = keys.records
    assert "private" not in record_id
    assert len(record_id) == 64


async def test_a_wrong_request_is_not_remembered(client, keys):
    wrong = await post(client, "key-1", BODY | {"recipient": "nobody"})
    right = await post(client, "key-1")

    assert (wrong.status_code, right.status_code) == (400, 201)
    assert len(keys.records) == 1


async def test_a_retry_of_what_the_broker_never_had_is_the_same_notification(client, pipeline, keys):
    pipeline.failure = Unavailable("x", handed_over=False)
    refused = await post(client, "key-1")
    [record] = keys.records.values()
    pipeline.failure = None
    accepted = await post(client, "key-1")
    again = await post(client, "key-1")

    assert (refused.status_code, accepted.status_code) == (503, 201)
    assert "idempotent-replayed" not in accepted.headers
    [event] = pipeline.events
    assert [event.notification_id] == record.notification_ids == [accepted.json()["data"]["id"]]
    assert again.content == accepted.content


async def test_what_is_published_twice_is_the_same_event(client, pipeline, keys):
    """The process before died after the confirm: nobody knows that it was confirmed."""
    await post(client, "key-1")
    [(record_id, record)] = keys.records.items()
    keys.records[record_id] = type(record)(record.fingerprint, record.notification_ids, record.accepted_at_ms)
    await post(client, "key-1")

    first, second = pipeline.events
    assert first == second


async def test_what_was_refused_although_the_broker_may_have_it_is_another_notification_next_time(
    client, pipeline, keys, ledger
):
    pipeline.failure = Unavailable("x")
    refused = await post(client, "key-1")
    [record] = keys.records.values()
    pipeline.failure = None
    accepted = await post(client, "key-1")
    again = await post(client, "key-1")

    assert (refused.status_code, accepted.status_code) == (503, 201)
    assert "idempotent-replayed" not in accepted.headers
    assert ledger.withdrawn == {*record.notification_ids}
    [event] = pipeline.events
    assert event.notification_id == accepted.json()["data"]["id"]
    assert event.notification_id not in ledger.withdrawn
    assert again.content == accepted.content


async def test_what_was_refused_but_a_sender_has_is_accepted_and_stays_so(client, pipeline, keys, ledger):
    reserve = keys.reserve

    async def and_be_quick(record_id, record):
        ledger.claimed.update(record.notification_ids)
        return await reserve(record_id, record)

    keys.reserve = and_be_quick
    pipeline.failure = Unavailable("x")
    accepted = await post(client, "key-1")
    again = await post(client, "key-1")

    assert (accepted.status_code, again.status_code) == (201, 201)
    assert {accepted.json()["data"]["id"]} <= ledger.claimed
    assert again.content == accepted.content
    assert again.headers["idempotent-replayed"] == "true"


async def test_an_answer_that_cannot_be_stored_is_not_given_and_nothing_is_delivered(client, pipeline, keys, ledger):
    """Another request of the key could withdraw it otherwise, after the client heard that it is accepted."""
    complete = keys.complete

    async def fail(record_id, record, answer):
        raise Unavailable("x")

    keys.complete = fail
    refused = await post(client, "key-1")
    keys.complete = complete
    accepted = await post(client, "key-1")

    assert (refused.status_code, refused.headers["retry-after"], accepted.status_code) == (503, "1", 201)
    assert refused.json()["message"] == (
        "The answer could not be stored under the Idempotency-Key now; repeat the request with the same key"
    )
    [first, second] = [event.notification_id for event in pipeline.events]
    assert ledger.withdrawn == {first}
    assert accepted.json()["data"]["id"] == second


async def test_an_answer_whose_storing_was_not_heard_of_is_the_keys_answer(client, pipeline, keys, ledger):
    complete = keys.complete

    async def fail_afterwards(record_id, record, answer):
        await complete(record_id, record, answer)
        raise Unavailable("x")

    keys.complete = fail_afterwards
    first = await post(client, "key-1")
    again = await post(client, "key-1")

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert ledger.withdrawn == set()


async def test_without_a_database_a_request_with_a_key_is_refused_and_one_without_is_accepted(client, pipeline, keys):
    keys.failure = Unavailable("x")
    keyed = await post(client, "key-1")

    assert keyed.status_code == 503
    assert keyed.headers["retry-after"] == "1"
    assert (
        keyed.json()["message"]
        == "The Idempotency-Key could not be looked up now; repeat the request with the same key"
    )
    assert pipeline.events == []
    assert (await client.post(NOTIFICATIONS, json=BODY)).status_code == 201


async def test_a_request_without_a_key_does_not_touch_the_database(client, keys):
    await client.post(NOTIFICATIONS, json=BODY)

    assert keys.calls == 0


@pytest.fixture
async def gate(pipeline):
    """Holds every publish back until it is set."""
    gate = asyncio.Event()
    publish = pipeline.publish

    async def held(events, *, timeout_s):
        await gate.wait()
        await publish(events, timeout_s=timeout_s)

    pipeline.publish = held
    return gate


async def test_ten_thousand_concurrent_requests_of_one_key_are_one_notification(
    make_app, make_client, pipeline, keys, gate
):
    # More than one process takes at once by default.
    async with make_client(make_app(intake=Intake(MAX_MEMORY_BYTES, max_posts=20_000))) as client:
        posts = [asyncio.create_task(post(client, "key-1")) for _ in range(10_000)]
        other = asyncio.create_task(post(client, "key-1", BODY | {"message": "Bye"}))
        assert (await other).status_code == 422
        gate.set()
        answers = await asyncio.gather(*posts)

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 9_999
    assert len(pipeline.events) == 1
    assert keys.calls == 2


async def test_concurrent_requests_of_a_key_that_fails_all_hear_of_it_and_can_be_repeated(client, pipeline, gate):
    pipeline.failure = Unavailable("x")
    posts = [asyncio.create_task(post(client, "key-1")) for _ in range(10)]
    gate.set()
    assert {answer.status_code for answer in await asyncio.gather(*posts)} == {503}
    pipeline.failure = None

    assert (await post(client, "key-1")).status_code == 201


async def test_a_client_may_be_known_by_a_name_that_outlasts_its_token(
    pipeline, make_keyed, make_acceptor, clock, make_client
):
    app = create_app(
        make_acceptor(pipeline),
        make_keyed(pipeline, ["x-client-id"]),
        pipeline,
        clock,
        traced=False,
    )
    async with make_client(app) as client:
        first = await post(client, "key-1", **{"X-Client-Id": "one", "Authorization": "Bearer old"})
        again = await post(client, "key-1", **{"X-Client-Id": "one", "Authorization": "Bearer new"})
        other = await post(client, "key-1", **{"X-Client-Id": "two", "Authorization": "Bearer new"})

    assert first.content == again.content
    assert first.json()["data"]["id"] != other.json()["data"]["id"]


async def test_two_processes_that_have_one_key_at_once_publish_the_same_notification(
    pipeline, make_keyed, make_acceptor, clock, make_client, gate
):
    apps = [
        create_app(
            make_acceptor(pipeline),
            make_keyed(pipeline),
            pipeline,
            clock,
            traced=False,
        )
        for _ in range(2)
    ]
    async with make_client(apps[0]) as one, make_client(apps[1]) as two:
        posts = [asyncio.create_task(post(client, "key-1")) for client in (one, two)]
        gate.set()
        first, second = await asyncio.gather(*posts)

    assert first.content == second.content
    assert len({event.event_id for event in pipeline.events}) == 1
