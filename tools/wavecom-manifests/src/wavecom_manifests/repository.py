"""Where things are in the repository."""

import hashlib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[4]
KUBERNETES: Final = ROOT / "deploy/k8s"
OVERLAYS: Final = KUBERNETES / "overlays"
# What the overlays render to, committed: it shows in a review what a change does, and tests need nothing to render it.
RENDERED: Final = KUBERNETES / "rendered"
RUNBOOKS: Final = ROOT / "docs/runbooks"


def overlays() -> list[str]:
    """The names of the overlays."""
    return sorted(path.name for path in OVERLAYS.iterdir() if (path / "kustomization.yaml").is_file())


def digest(overlay: str) -> str:
    """Of every file the overlay may be made of: it tells, without rendering anything, whether a render is of today."""
    found = hashlib.sha256()
    for folder in (KUBERNETES / "base", KUBERNETES / "components", OVERLAYS / overlay):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            found.update(f"{path.relative_to(KUBERNETES)}\n".encode() + path.read_bytes())
    return found.hexdigest()
