"""The repository's Markdown pages, taken apart as far as the tests need."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_SPAN: Final = re.compile(r"`([^`\n]+)`")
_LINK: Final = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
_NOT_IN_A_SLUG: Final = re.compile(r"[^\w\- ]")


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """Where it is, from the root of the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text()

    @cached_property
    def fences(self) -> list[tuple[str, str]]:
        """Language and body of every block of code."""
        return [(found["language"], found["body"]) for found in _FENCE.finditer(self.text)]

    @cached_property
    def prose(self) -> str:
        """What is outside of blocks of code."""
        return _FENCE.sub("", self.text)

    @cached_property
    def spans(self) -> list[str]:
        """Code within the prose."""
        return _SPAN.findall(self.prose)

    @cached_property
    def links(self) -> list[str]:
        """Where links lead, but for addresses elsewhere."""
        return [link for link in _LINK.findall(self.prose) if not re.match(r"[a-z]+:", link)]

    @cached_property
    def anchors(self) -> set[str]:
        """What a link into the page may name, as GitHub makes it from headings."""
        return {
            _NOT_IN_A_SLUG.sub("", heading.lower()).strip().replace(" ", "-")
            for heading in _HEADING.findall(self.prose)
        }

    def commands(self) -> Iterator[str]:
        """Every line of shell, in the prose and in blocks of code."""
        yield from self.spans
        for language, body in self.fences:
            if language == "bash":
                yield from (line.strip() for line in body.splitlines())

    def section(self, heading: str) -> str:
        """What stands below a heading of the second level."""
        return self.text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def files() -> Iterator[Path]:
    """Every file of the repository, without what tools keep in it."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        yield from (Path(folder) / name for name in names)


PAGES: Final = [Page(path) for path in sorted(files()) if path.suffix == ".md"]
README: Final = Page(ROOT / "README.md")
