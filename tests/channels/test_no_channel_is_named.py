"""Product code names no channel: what there is, is asked of the registry."""

import re

from wavecom_common.events.channels import CHANNELS

from tests.docs.pages import ROOT

# `email` is a package of Python's, too; the library's builders make examples for tests.
_ALLOWED = re.compile(r"^\s*(?:from|import) email\b")
_NAMES = "|".join(CHANNELS)
_NAMED = re.compile(rf"\b(?:{_NAMES})\b|(?:{_NAMES})[-_]?sender|WAVECOM_(?:{_NAMES})_", re.IGNORECASE)
_FOLDERS = (
    "libs/common/src",
    "services/ingest-api/src",
    "services/dispatcher/src",
    "services/status-projector/src",
    "tools",
    "benchmarks/src",
)


def test_no_code_outside_of_the_channels_folders_names_one() -> None:
    named = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for folder in _FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "tests" not in path.parts and "wavecom_common/testing" not in path.as_posix()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if _NAMED.search(line) and not _ALLOWED.match(line)
    ]
    assert named == []


def test_nor_does_the_workspace() -> None:
    for name in ("pyproject.toml", "Makefile", "deploy/docker/Dockerfile", "deploy/docker/build.sh"):
        assert not re.search(rf"\b(?:{_NAMES})[-_]sender", (ROOT / name).read_text()), name
