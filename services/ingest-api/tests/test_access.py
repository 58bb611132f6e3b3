"""Which hosts a request may name, and which web pages may send one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest_api.access import AllowedHosts, AllowedOrigins
from ingest_api.routes import BATCH, NOTIFICATIONS

EMAIL = {"recipient": "user@example.com", "message": "Hello", "channel": "email"}
EVERY_PATH = [
    NOTIFICATIONS,
    f"{NOTIFICATIONS}/675a1b2c3d4e5f6071829304",
    "/health",
    "/docs",
    "/openapi.json",
    "/nowhere",
]


@pytest.mark.parametrize("path", [NOTIFICATIONS, BATCH])
async def test_a_post_of_any_web_page_without_a_content_type_is_refused(client, pipeline, path):
    body = b'{"recipient": "+2348012345678", "message": "Hello", "channel": "sms"}'

    answer = await client.post(path, content=body)

    assert answer.status_code == 400
    assert answer.json() == {"status": "error", "message": "The Content-Type must be application/json"}
    assert pipeline.events == []


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("path", EVERY_PATH)
async def test_a_page_of_an_origin_that_is_not_listed_is_refused_everywhere(client, pipeline, method, path):
    answer = await client.request(method, path, json=EMAIL, headers={"Origin": "https://evil.example"})

    assert answer.status_code == 403
    assert answer.json()["status"] == "error"
    assert "WAVECOM_CORS_ORIGINS" in answer.json()["message"]
    assert "access-control-allow-origin" not in answer.headers
    assert pipeline.events == []


@pytest.mark.parametrize(
    "origin", ["null", "", "file://", "https://localhost:3000.evil.example", "http://localhost:3001"]
)
async def test_what_only_resembles_an_allowed_origin_is_refused(client, origin):
    assert (await client.get("/health", headers={"Origin": origin})).status_code == 403


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://localhost:3000"])
async def test_the_apis_own_pages_may_call_it(client, origin):
    posted = await client.post(NOTIFICATIONS, json=EMAIL, headers={"Origin": origin})
    asked = await client.get(NOTIFICATIONS, headers={"Origin": origin})

    assert (posted.status_code, asked.status_code) == (201, 200)
    assert "access-control-allow-origin" not in posted.headers


async def test_a_rebound_name_does_not_make_a_page_one_of_the_apis_own(client):
    headers = {"Origin": "http://evil.example:3000", "Host": "evil.example:3000"}

    assert (await client.post(NOTIFICATIONS, json=EMAIL, headers=headers)).status_code == 421


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", EVERY_PATH)
async def test_a_host_that_is_not_served_is_misdirected_everywhere(client, pipeline, method, path):
    answer = await client.request(method, path, json=EMAIL, headers={"Host": "evil.example"})

    assert answer.status_code == 421
    assert answer.json()["status"] == "error"
    assert "WAVECOM_ALLOWED_HOSTS" in answer.json()["message"]
    assert pipeline.events == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:3000", "127.0.0.1:8080", "[::1]:3000", "[::1]"])
async def test_the_loopback_interfaces_names_are_served_on_every_port(client, host):
    assert (await client.post(NOTIFICATIONS, json=EMAIL, headers={"Host": host})).status_code == 201


@pytest.mark.parametrize(
    "host", ["", "localhost:http", "localhost:3000:3000", "user@localhost", "localhost/", "::1", " "]
)
async def test_what_is_no_host_is_a_wrong_request(client, host):
    assert (await client.get("/health", headers={"Host": host})).status_code == 400


@pytest.mark.parametrize(
    ("headers", "http_version", "status"),
    [
        ([], "1.1", 400),
        ([], "1.0", 200),
        ([(b"host", b"localhost"), (b"host", b"localhost")], "1.1", 400),
        ([(b"host", b"localhost"), (b"origin", b"http://localhost"), (b"origin", b"http://evil.example")], "1.1", 400),
        ([(b"host", b"localhost"), (b"accept", b"a"), (b"accept", b"b")], "1.1", 200),
    ],
)
async def test_host_and_origin_are_given_once(app, headers, http_version, status):
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b""}

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/health",
        "raw_path": b"/health",
        "root_path": "",
        "scheme": "http",
    }
    await app(scope | {"http_version": http_version, "query_string": b"", "headers": headers}, receive, send)

    assert sent[0]["status"] == status


async def test_listed_origins_may_call_and_read_the_answers(make_app, make_client):
    async with make_client(make_app(cors_origins=["https://shop.example", "http://localhost:*"])) as client:
        for origin in ("https://shop.example", "http://localhost:5173"):
            headers = {"Origin": origin}
            asked = headers | {
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type",
            }
            preflight = await client.options(NOTIFICATIONS, headers=asked)
            posted = await client.post(NOTIFICATIONS, json=EMAIL, headers=headers)
            refused = await client.post(NOTIFICATIONS, content=b"{}", headers=headers)

            assert (preflight.status_code, posted.status_code, refused.status_code) == (200, 201, 400)
            for answer in (preflight, posted, refused):
                assert answer.headers["access-control-allow-origin"] == origin
        assert (await client.get("/health", headers={"Origin": "http://localhost.evil.example"})).status_code == 403


async def test_every_origin_and_every_host_may_be_allowed(make_app, make_client):
    async with make_client(make_app(cors_origins=["*"], allowed_hosts=["*"])) as client:
        answer = await client.post(NOTIFICATIONS, json=EMAIL, headers={"Origin": "null", "Host": "anything.example"})

    assert answer.status_code == 201
    assert answer.headers["access-control-allow-origin"] == "*"


def test_a_wildcard_stands_for_every_subdomain_and_not_for_the_domain():
    hosts = AllowedHosts(["*.example.com", "API.example.org"])

    assert hosts.allows(b"a.example.com:80")
    assert hosts.allows(b"a.b.Example.com")
    assert hosts.allows(b"api.example.org")
    assert not hosts.allows(b"example.com")
    assert not hosts.allows(b"evilexample.com")
    assert not hosts.allows(b"a.example.com.evil.example")


@given(st.binary(max_size=40))
def test_whatever_is_sent_as_host_or_origin_is_allowed_only_when_it_is_listed(value: bytes):
    hosts, origins = AllowedHosts(["localhost"]), AllowedOrigins(["http://localhost:3000"])

    assert not hosts.allows(value) or value.lower().partition(b":")[0] == b"localhost"
    assert not origins.allows(value) or value == b"http://localhost:3000"
