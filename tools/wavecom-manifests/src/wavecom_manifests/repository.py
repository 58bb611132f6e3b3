"""Where things are in the repository."""

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
