"""The pages a person sees: whole, unchanged, and with nothing loaded from elsewhere."""

import hashlib
import re

import pytest
from ingest_api.routes.pages import FILES

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
LOADED = re.compile(r"""(?:src|href)="([^"]+)"|url\(([^)]+)\)""")
POLICY = {"default-src": "'none'", "script-src": "'self'", "connect-src": "'self'", "frame-ancestors": "'none'"}


def policy_of(answer) -> dict[str, str]:
    directives = answer.headers["content-security-policy"].split("; ")
    return dict(directive.split(" ", 1) for directive in directives)


@pytest.mark.parametrize(("path", "headers"), [("/docs", {}), ("/docs/docs.js", {}), ("/", HTML)])
async def test_a_page_has_a_strict_policy(client, path, headers):
    answer = await client.get(path, headers=headers)

    assert answer.status_code == 200
    assert policy_of(answer).items() >= POLICY.items()
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(("path", "headers"), [("/docs", {}), ("/", HTML)])
async def test_a_page_loads_only_what_is_served_here_and_has_no_script_in_it(client, path, headers):
    page = (await client.get(path, headers=headers)).text

    assert re.findall(r"<script(?! src=)|\son\w+=|style=|https?:|//", page) == []
    for loaded, _ in LOADED.findall(page):
        if loaded != "data:,":
            answer = await client.get(f"/{loaded}")
            assert answer.status_code == 200, loaded


async def test_the_style_sheet_and_our_script_load_nothing_from_elsewhere(client):
    style = (await client.get("/docs/swagger-ui.css")).text
    script = (await client.get("/docs/docs.js")).text

    assert {quoted.strip("\"'")[:5] for _, quoted in LOADED.findall(style)} == {"data:"}
    assert "@import" not in style
    assert "//" not in re.sub(r"^ *// .*$", "", script, flags=re.MULTILINE)


async def test_what_is_served_is_what_was_vendored_and_its_licence_is_beside_it(client):
    documented = dict(
        re.findall(r"^\| `([\w.-]+)` \| `([0-9a-f]{64})` \|$", (FILES / "README.md").read_text(), re.MULTILINE)
    )

    assert set(documented) == {"swagger-ui-bundle.js", "swagger-ui.css"}
    for name, expected in documented.items():
        answer = await client.get(f"/docs/{name}")
        assert hashlib.sha256(answer.content).hexdigest() == expected
        assert answer.headers["cache-control"] == "public, max-age=3600"
    assert "Apache License" in (FILES / "LICENSE").read_text()
    assert (FILES / "swagger-ui-bundle.js.LICENSE.txt").read_text()


async def test_the_root_says_where_everything_is(client):
    answer = await client.get("/")

    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["status"] == "success"
    for place in answer.json()["data"].values():
        assert (await client.get(place)).status_code == 200
    page = await client.get("/", headers=HTML)
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["vary"] == "accept"
