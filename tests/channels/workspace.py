"""A copy of the workspace with one channel more, made of the page that says how to add one."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.docs.pages import ROOT, Page

PAGE: Final = Page(ROOT / "docs/add-a-channel.md")
CHANNEL: Final = "whatsapp"
FOLDER: Final = f"services/{CHANNEL}-sender"
_PATH: Final = re.compile(r"(?:# |<!-- )([\w./]+\.\w+)(?: -->)?\n")


def files() -> dict[str, str]:
    """The folder's files as the page has them, by their path in it."""
    found = [(_PATH.match(body), body) for _, body in PAGE.fences]
    return {path[1]: body[path.end() :] for path, body in found if path is not None}


@dataclass(frozen=True)
class Workspace:
    """A copy of the workspace and an interpreter that runs its code."""

    root: Path
    python: Path

    def run(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        """What the copy's interpreter prints, run in the copy; it has to succeed."""
        done = subprocess.run(
            [self.python, *arguments],
            cwd=self.root,
            env=environment or dict(os.environ),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def with_one_more(folder: Path) -> Workspace:
    """Copy the workspace, add the page's folder and nothing else, and install that."""
    root = folder / "workspace"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    for name, text in files().items():
        (root / FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (root / FOLDER / name).write_text(text)
    return Workspace(root, _interpreter(folder / "venv", root))


def _interpreter(venv: Path, root: Path) -> Path:
    """One that has the copy's code, the new channel installed, and everything else of this session's environment."""
    uv = [str(ROOT / ".tools/bin/uv"), "--quiet", "--offline"]
    python = venv / "bin" / "python"
    subprocess.run([*uv, "venv", "--python", sys.executable, str(venv)], check=True)
    site = next((venv / "lib").glob("python*/site-packages"))
    sources = sorted(str(path.parent / "src") for path in root.glob("*/**/pyproject.toml"))
    (site / "workspace.pth").write_text("\n".join([*sources, sysconfig.get_path("purelib"), ""]))
    subprocess.run(
        [*uv, "pip", "install", "--no-deps", "--python", str(python), "--editable", str(root / FOLDER)], check=True
    )
    return python
