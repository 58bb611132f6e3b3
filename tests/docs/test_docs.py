"""Every page says what is so: targets, settings, links, paths, names."""

import pkgutil
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from wavecom_cli.__main__ import app
from wavecom_common.events import routing, types
from wavecom_common.events.channels import CHANNELS, PRIORITIES
from wavecom_common.hosting.settings import Settings
from wavecom_common.messaging import topology
from wavecom_common.testing.builders import a_request
from wavecom_stack.services import SERVICES

from tests.docs.pages import PAGES, ROOT, Page, files
from tests.docs.settings import OWN, SETTINGS

FILES = [path.relative_to(ROOT).as_posix() for path in files()]
FOLDERS = {parent.as_posix() for name in FILES for parent in Path(name).parents}
PACKAGES = {
    "wavecom_proto",
    "wavecom_common",
    "wavecom_stack",
    "wavecom_cli",
    "wavecom_fault",
    "wavecom_manifests",
    "wavecom_mutants",
} | {service.arguments[0] for service in SERVICES}
PLAN = topology.plan(Settings().broker_delays_ms)
QUEUES = {queue.name for queue in PLAN.queues}
SECTIONS = ("Context", "Decision", "Consequences", "Alternatives")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def expanded(name: str) -> list[str]:
    """The names that one with `<channel>`, `<priority>` or `<wait>` stands for."""
    waits = [exchange.rpartition(".")[2] for exchange in PLAN.exchanges if exchange.startswith("wavecom.retry.")]
    names = [name]
    for placeholder, values in {"<channel>": CHANNELS, "<priority>": PRIORITIES, "<wait>": waits}.items():
        names = [one.replace(placeholder, value) for one in names for value in (values if placeholder in one else [""])]
    return names


@every_page
def test_make_targets_exist(page: Page) -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in page.commands():
        called = re.fullmatch(r"(?:\w+=\S+ )*make((?: [a-z][a-z0-9-]*)+)", command)
        assert called is None or set(called[1].split()) <= targets, command


@every_page
def test_commands_of_the_command_line_exist(page: Page) -> None:
    for command in page.commands():
        called = re.fullmatch(r"(?:\.venv/bin/)?wavecom((?: [a-z]+)+)(?: .*)?", command)
        group: Any = get_command(app) if called else None
        for word in called[1].split() if called else ():
            # Behind a command its arguments follow.
            group = group.commands[word] if hasattr(group, "commands") else group


@every_page
def test_settings_exist(page: Page) -> None:
    sources = [ROOT / name for name in FILES if name.startswith(("tools/", "benchmarks/", "deploy/local/"))]
    known = {f"WAVECOM_COPIES_{service.name.upper().replace('-', '_')}" for service in SERVICES} | set(SETTINGS)
    known = known.union(*OWN.values())
    for source in sources:
        if source.suffix in {".py", ".yaml"}:
            known |= set(re.findall(r"WAVECOM_[A-Z_]+", source.read_text()))
    assert set(re.findall(r"WAVECOM_[A-Z_]*[A-Z]", page.text)) <= known


@every_page
def test_relative_links_lead_somewhere(page: Page) -> None:
    for link in page.links:
        target, _, anchor = link.partition("#")
        path = (page.path.parent / target).resolve() if target else page.path
        assert path.exists(), link
        assert not anchor or anchor in Page(path).anchors, link


@every_page
def test_paths_exist(page: Page) -> None:
    for span in page.spans:
        if not re.fullmatch(r"[\w.*<>-]+(?:/[\w.*<>-]+)*/?", span) or "/" not in span:
            continue
        pattern = re.sub(r"<\w+>", "*", span.rstrip("/"))
        if (ROOT / span.split("/")[0]).exists() and not span.startswith("."):
            assert any(fnmatchcase(name, pattern) for name in [*FILES, *FOLDERS]), span
        elif re.search(r"\.(?:py|md|toml|ya?ml|proto)$", span):
            assert any(fnmatchcase(name, f"*/{pattern}") for name in FILES), span


@every_page
def test_modules_and_what_they_hold_exist(page: Page) -> None:
    for span in page.spans:
        names_code = re.fullmatch(r"\w+(?:\.\w+)+", span) and span.split(".")[0] in PACKAGES
        if names_code and span not in QUEUES:
            pkgutil.resolve_name(span)


@every_page
def test_exchanges_and_queues_exist(page: Page) -> None:
    known = {*PLAN.exchanges, *QUEUES}
    pattern = r"(?:status-projector|(?:[a-z]+|<channel>)-sender|wavecom\.(?:retry|dead|events))\.[\w.<>]+"
    words = {word.rstrip(",.") for _, body in page.fences for word in body.split()} | set(page.spans)
    for word in words:
        if re.fullmatch(pattern, word) and not word.endswith((".py", ".md", ".log", ".pid", ".yaml")):
            assert set(expanded(word)) <= known, word


@every_page
def test_routing_keys_are_ours(page: Page) -> None:
    events = [a_request(channel=channel, priority=priority) for channel in CHANNELS for priority in PRIORITIES]
    known = {key for queue in PLAN.queues for _, key in queue.bindings}
    for event in events:
        for event.type in types.EVENT_TYPES:
            known.add(routing.routing_key(event))
    for span in page.spans:
        if re.fullmatch(r"notification\.[a-z.<>#*]+", span):
            assert set(expanded(span)) <= known, span


@every_page
def test_no_page_names_a_place_on_somebodys_machine(page: Page) -> None:
    assert not re.search(r"(?<![\w.])/(?:work|tmp|root|home|Users)/", page.text)


def test_every_member_of_the_workspace_says_what_it_is() -> None:
    parts = ("proto/", "libs/", "services/", "tools/")
    members = [Path(name).parent for name in FILES if name.startswith(parts) and name.endswith("/pyproject.toml")]
    assert [member for member in members if not (ROOT / member / "README.md").exists()] == []


def test_every_decision_is_listed_and_has_its_four_parts_on_one_page() -> None:
    decisions = [page for page in PAGES if re.match(r"docs/adr/\d{4}-", page.name)]
    listed = Page(ROOT / "docs/adr/README.md").links
    assert [page.path.name for page in decisions] == listed
    for page in decisions:
        assert tuple(re.findall(r"^## (.+)$", page.text, re.MULTILINE)) == SECTIONS, page.name
        assert page.text.count("\n") <= 80, page.name
