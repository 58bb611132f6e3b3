"""What is refused, and that the answer names the field and what would be right."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_api.errors import Refusal
from ingest_api.routes import NOTIFICATIONS
from ingest_api.validation import parse_notification
from wavecom_common.events.channels import CHANNELS

EMAIL = {"recipient": "user@example.com", "message": "Hello", "channel": "email"}
SMS = {"recipient": "+2348012345678", "message": "Hello", "channel": "sms"}
PUSH = {"recipient": "fcm-token-4f0c2d7e9a1b", "message": "Hello", "channel": "push"}

JSON = {"Content-Type": "application/json"}
ADDRESS = "must be an e-mail address such as user@example.com"
NUMBER = "must be a phone number in E.164 form such as +2348012345678: +, an assigned country code, the number"
TOKEN = "must be a device token: 8 to 4,096 characters, letters, digits and any of _ . : % = / + -"
SUBJECT = "must be 1 to 200 characters without line breaks or other control characters"
KEYS = 'must have keys of 1 to 128 characters that do not start with "$" and hold no "." and no NUL'
NUMBERS = "must have finite numbers that fit 64 bits, from -2^63 to 2^63-1"


def nested(levels: int) -> object:
    return [] if levels == 1 else [nested(levels - 1)]


@pytest.mark.parametrize(
    ("request_", "missing"),
    [
        ({}, "recipient, message, channel"),
        ({"subject": "x"}, "recipient, message, channel"),
        ({"channel": "email"}, "recipient, message"),
        ({"recipient": "user@example.com"}, "message, channel"),
        ({"message": "Hello", "channel": "sms"}, "recipient"),
        ({"channel": "sms", "recipient": "+2348012345678"}, "message"),
        ({"recipient": "user@example.com", "message": "Hello"}, "channel"),
        ({"recipient": None, "message": None, "channel": None}, "recipient, message, channel"),
        ({"recipient": None, "message": "Hello", "channel": "push"}, "recipient"),
        ({"message": "Hello", "channel": "fax"}, "recipient"),
    ],
)
async def test_missing_fields_are_listed_in_their_order(client, request_, missing):
    answer = await client.post(NOTIFICATIONS, json=request_)

    assert answer.status_code == 400
    assert answer.json()["status"] == "error"
    assert answer.json()["message"] == f"Missing required fields: {missing}"
    named = [error["field"] for error in answer.json()["errors"] if error["message"] == "is required"]
    assert named == missing.split(", ")


@pytest.mark.parametrize(
    ("request_", "field", "message"),
    [
        *[
            ({**EMAIL, "recipient": recipient}, "recipient", ADDRESS)
            for recipient in (
                "",
                "user",
                "user@",
                "@example.com",
                "user@example",
                "user@@example.com",
                "user@example..com",
                ".user@example.com",
                "user.@example.com",
                "us..er@example.com",
                "user@-example.com",
                "user@example-.com",
                "user@example.123",
                "user@[127.0.0.1]",
                '"us er"@example.com',
                "us er@example.com",
                "User <user@example.com>",
                "user@example.com,other@example.com",
                "user@example.com\n",
                " user@example.com",
                "user@example.com\r\nBcc: other@example.com",
                "usér@example.com",
                "user@exämple.com",
                "user@local.host\0",
                "user@mail.localhost",
                "user@mail.LOCAL",
                "user@some.invalid",
                "user@ab--cd.com",
                "user@xn--.com",
                f"user@{'a' * 64}.com",
                f"{'a' * 250}@example.com",
                "+2348012345678",
            )
        ],
        ({**EMAIL, "recipient": 5}, "recipient", "must be a string"),
        ({**EMAIL, "recipient": ["user@example.com"]}, "recipient", "must be a string"),
        *[
            ({**SMS, "recipient": recipient}, "recipient", NUMBER)
            for recipient in (
                "",
                "12345",
                "2348012345678",
                "+",
                "+1",
                "+12345",
                "+1 555 123 4567",
                "+1-555-123-4567",
                "+1(555)1234567",
                "+9991234567",
                "+0123456789",
                "+1234567890123456",
                "+234801234567x",
                "+2348012345678\n",
                "00441234567890",
                "+٢٣٤٨٠١٢٣٤٥٦٧٨",
                "tel:+2348012345678",
                "user@example.com",
            )
        ],
        *[
            ({**PUSH, "recipient": recipient}, "recipient", TOKEN)
            for recipient in ("", "short", "a" * 4097, "with spaces", "tökentoken", "token-token\n", "token\0token")
        ],
        ({**EMAIL, "message": ""}, "message", "must not be empty"),
        ({**EMAIL, "message": 5}, "message", "must be a string"),
        ({**EMAIL, "message": {"text": "Hello"}}, "message", "must be a string"),
        ({**EMAIL, "message": "a\0b"}, "message", "must not contain NUL characters (U+0000)"),
        ({**EMAIL, "message": "a" * 65_537}, "message", "must be at most 65,536 bytes in UTF-8; it has 65,537"),
        ({**EMAIL, "message": "é" * 32_769}, "message", "must be at most 65,536 bytes in UTF-8; it has 65,538"),
        ({**SMS, "message": "a" * 1_601}, "message", "must be at most 1,600 characters; it has 1,601"),
        ({**PUSH, "message": "a" * 4_001}, "message", "must be at most 4,000 bytes in UTF-8; it has 4,001"),
        ({**PUSH, "message": "🎉" * 1_001}, "message", "must be at most 4,000 bytes in UTF-8; it has 4,004"),
        *[
            ({**EMAIL, "channel": channel}, "channel", f"must be one of: {', '.join(CHANNELS)}")
            for channel in ("fax", "EMAIL", "", 5, [])
        ],
        *[
            ({**EMAIL, "subject": subject}, "subject", SUBJECT)
            for subject in (
                "",
                "a" * 201,
                "a\r\nBcc: other@example.com",
                "a\rb",
                "a\nb",
                "a\0b",
                "a\tb",
                "a\x0bb",
                "a\x1cb",
                "a\x7fb",
                "a\x85b",
                "a\u2028b",
                "a\u2029b",
            )
        ],
        ({**EMAIL, "subject": 5}, "subject", "must be a string"),
        ({**SMS, "subject": "Hello"}, "subject", "is not for this channel: leave it out"),
        ({**PUSH, "subject": "Hello"}, "subject", "is not for this channel: leave it out"),
        ({**EMAIL, "priority": "urgent"}, "priority", "must be one of: high, medium, low"),
        ({**EMAIL, "priority": 1}, "priority", "must be one of: high, medium, low"),
        ({**EMAIL, "maxAttempts": 0}, "maxAttempts", "must be at least 1"),
        ({**EMAIL, "maxAttempts": -1}, "maxAttempts", "must be at least 1"),
        ({**EMAIL, "maxAttempts": 11}, "maxAttempts", "must be at most 10"),
        ({**EMAIL, "maxAttempts": 10**30}, "maxAttempts", "must be at most 10"),
        *[
            ({**EMAIL, "maxAttempts": attempts}, "maxAttempts", "must be a whole number")
            for attempts in ("3", 2.5, True, [], float("nan"), float("inf"))
        ],
        ({**EMAIL, "onUnknown": "maybe"}, "onUnknown", "must be one of: resend, fail"),
        *[({**EMAIL, "metadata": metadata}, "metadata", "must be a JSON object") for metadata in ([], "x", 5, True)],
        *[
            ({**EMAIL, "metadata": metadata}, "metadata", KEYS)
            for metadata in (
                {"$where": 1},
                {"a.b": 1},
                {"": 1},
                {"a\0": 1},
                {"k" * 129: 1},
                {"a": {"$b": 1}},
                {"a": [{"b.c": 1}]},
            )
        ],
        *[
            ({**EMAIL, "metadata": {"a": number}}, "metadata", NUMBERS)
            for number in (2**63, -(2**63) - 1, 10**400, 1e19, float("nan"), float("inf"), float("-inf"))
        ],
        ({**EMAIL, "metadata": {"a": nested(8)}}, "metadata", "must be nested at most 8 levels deep"),
        (
            {**EMAIL, "metadata": {"a": "x" * 8_185}},
            "metadata",
            "must be at most 8,192 bytes as compact JSON; it has 8,193",
        ),
        ({**EMAIL, "body": "Hello"}, "body", "is not a known field: leave it out"),
        ({**EMAIL, "id": "675a1b2c3d4e5f6071829304"}, "id", "is not a known field: leave it out"),
        ({**EMAIL, "k" * 1000: 1}, "k" * 64 + "...", "is not a known field: leave it out"),
    ],
)
async def test_a_wrong_value_is_named_with_what_would_be_right(client, pipeline, request_, field, message):
    answer = await client.post(NOTIFICATIONS, content=json.dumps(request_, ensure_ascii=False).encode(), headers=JSON)

    assert answer.status_code == 400
    assert answer.json() == {
        "status": "error",
        "message": f"{field} {message}",
        "errors": [{"field": field, "message": message}],
    }
    assert pipeline.events == []


@pytest.mark.parametrize(
    "request_",
    [
        *[
            {**EMAIL, "recipient": recipient}
            for recipient in (
                "user@example.com",
                "a@b.co",
                "first.last+tag@mail.example.co.uk",
                "o'neil@example.com",
                "USER@EXAMPLE.COM",
                "user@xn--mnchen-3ya.de",
                "user@example.xn--p1ai",
                "user@shop.test",
                "1@1.io",
                f"{'a' * 242}@example.com",
            )
        ],
        *[
            {**SMS, "recipient": recipient}
            for recipient in (
                "+15551234567",
                "+2348012345678",
                "+1234567890",
                "+4915112345678",
                "+882160000000",
                "+123456789012345",
            )
        ],
        *[{**PUSH, "recipient": recipient} for recipient in ("a" * 8, "a" * 4096, "cX:APA91b_x-y.z%3D=/+")],
        {**EMAIL, "message": "a" * 65_536},
        {**EMAIL, "message": "first line\nsecond line\t\u2028"},
        {**SMS, "message": "🎉" * 1_600},
        {**PUSH, "message": "🎉" * 1_000},
        {**EMAIL, "subject": "a" * 200},
        {**EMAIL, "subject": "🎉" * 200},
        {**EMAIL, "maxAttempts": 1},
        {**EMAIL, "maxAttempts": 10},
        {**EMAIL, "maxAttempts": 3.0},
        {**EMAIL, "metadata": {}},
        {**EMAIL, "metadata": {"a": nested(7)}},
        {**EMAIL, "metadata": {"a": 2**63 - 1, "b": -(2**63), "c": 1e-300, "d": "$5 is due. $where", "k" * 128: None}},
        {**EMAIL, "metadata": {"a": "x" * 8_184}},
    ],
)
async def test_the_edges_of_what_is_right_are_accepted(client, request_):
    answer = await client.post(NOTIFICATIONS, json=request_)

    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The body is empty. Send"),
        (b"{", "The body is not valid JSON: EOF"),
        (b'{"recipient": "user@example.com",}', "The body is not valid JSON: "),
        (b"recipient=user@example.com", "The body is not valid JSON: "),
        (b"\xff\xfe", "The body is not valid JSON: "),
        (b'\xef\xbb\xbf{"channel": "sms"}', "The body is not valid JSON: "),
        (b'{"recipient": "user@example.com", "message": "\xff", "channel": "email"}', "The body is not valid JSON: "),
        (
            b'{"recipient": "user@example.com", "message": "\\ud800", "channel": "email"}',
            "The body is not valid JSON: ",
        ),
        (
            b'{"recipient": "user@example.com", "message": "\\udc00x", "channel": "email"}',
            "The body is not valid JSON: ",
        ),
        (b'{"recipient": "+2348012345678", "\\ud800": 1, "channel": "sms"}', "The body is not valid JSON: "),
        (b"[" * 1_000 + b"]" * 1_000, "The body is not valid JSON: recursion limit exceeded"),
        (b"[" * 100_000, "The body is not valid JSON: recursion limit exceeded"),
        (b'{"a":' * 20_000, "The body is not valid JSON: recursion limit exceeded"),
        (b"9" * 100_000, "The body is not valid JSON: number out of range"),
        # Which of the two would count is not the same for every reader: we do not guess.
        (b'{"message": "first", "message": "second"}', "The body is not valid JSON: duplicate key at line 1 column 32"),
        (b'{"metadata": {"a": 1, "\\u0061": 2}}', "The body is not valid JSON: duplicate key at line 1"),
        (b'{"' + b"private" * 1_000 + b'": 1, "' + b"private" * 1_000 + b'": 2}', "The body is not valid JSON: dup"),
        *[
            (body, "The body must be a JSON object with recipient, message and channel")
            for body in (b"null", b"5", b"true", b'"text"', b"[]", b'[{"channel": "sms"}]', b"NaN", b"1e999")
        ],
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(client, body, message):
    answer = await client.post(NOTIFICATIONS, content=body, headers=JSON)

    assert answer.status_code == 400
    assert answer.json()["message"].startswith(message)
    assert "private" not in answer.text


async def test_every_field_at_fault_is_named_at_once(client):
    answer = await client.post(
        NOTIFICATIONS, json={**SMS, "recipient": "12345", "subject": "x", "priority": "x", "to": 1}
    )

    assert [error["field"] for error in answer.json()["errors"]] == ["priority", "recipient", "subject", "to"]
    for field in ("priority", "recipient", "subject", "to"):
        assert f"{field} " in answer.json()["message"]


async def test_an_answer_stays_small_however_much_is_wrong(client):
    answer = await client.post(NOTIFICATIONS, json={**SMS, **{f"{n:0100}": n for n in range(1_000)}})

    assert answer.status_code == 400
    assert len(answer.content) < 8_192


@pytest.mark.parametrize(
    "request_",
    [
        {**EMAIL, "recipient": "private.person(at)example.com"},
        {**SMS, "recipient": "private.person(at)example.com"},
        {**PUSH, "recipient": "private.person(at)example.com"},
        {**EMAIL, "message": "private.person(at)example.com\0"},
        {**EMAIL, "subject": "private.person(at)example.com\n"},
        {**EMAIL, "channel": "private.person(at)example.com"},
        {**EMAIL, "metadata": {"private.person(at)example.com": 1}},
    ],
)
async def test_no_value_comes_back_in_an_error(client, request_):
    answer = await client.post(NOTIFICATIONS, json=request_)

    assert answer.status_code == 400
    assert "private" not in answer.text


def test_every_refusal_names_its_fields():
    with pytest.raises(Refusal) as refused:
        parse_notification({"channel": "email", "maxAttempts": "x"})

    assert refused.value.message == "Missing required fields: recipient, message"
    assert [error.field for error in refused.value.errors] == ["maxAttempts", "recipient", "message"]


_NAMES = st.sampled_from(
    ["recipient", "message", "channel", "subject", "metadata", "priority", "maxAttempts", "onUnknown", "x"]
)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["email", "sms", "push", "high", "resend", "user@example.com", "+2348012345678", "token-token"])
)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | _NAMES, inner, max_size=9),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=_JSON | st.dictionaries(_NAMES, _JSON))
async def test_no_json_whatever_makes_the_api_fail(client, value):
    answer = await client.post(NOTIFICATIONS, content=json.dumps(value), headers=JSON)

    assert answer.status_code in (201, 400), answer.text
    assert set(answer.json()) <= {"status", "message", "errors", "data"}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200))
async def test_no_bytes_whatever_make_the_api_fail(client, body):
    answer = await client.post(NOTIFICATIONS, content=body, headers=JSON)

    assert answer.status_code in (201, 400), answer.text
