"""`python -m wavecom_manifests render` writes `deploy/k8s/rendered`; `... validate` checks everything."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from wavecom_manifests import policies, schemas
from wavecom_manifests.objects import Finding, Manifests
from wavecom_manifests.render import RenderError, render, renderer
from wavecom_manifests.repository import OVERLAYS, RENDERED, ROOT, digest, overlays

CRDS: Final = "WAVECOM_CRDS"
# The digest is for those who have no kustomize at hand: it tells them whether this is of today.
_HEADER: Final = "# Rendered from overlays/{overlay} by `make k8s-render`. Do not edit.\n# Sources: sha256 {digest}\n"


def main(arguments: Sequence[str]) -> int:
    """Run a command; the exit status is 1 when anything is wrong."""
    commands: dict[str, Callable[[], int]] = {"render": _render, "validate": _validate}
    if len(arguments) != 1 or arguments[0] not in commands:
        print("usage: python -m wavecom_manifests render|validate", file=sys.stderr)
        return 2
    try:
        return commands[arguments[0]]()
    except RenderError as error:
        print(error, file=sys.stderr)
        return 1


def _render() -> int:
    command = renderer()
    RENDERED.mkdir(exist_ok=True)
    for overlay in overlays():
        path = RENDERED / f"{overlay}.yaml"
        path.write_text(_HEADER.format(overlay=overlay, digest=digest(overlay)) + render(OVERLAYS / overlay, command))
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


def _validate() -> int:
    command = renderer()
    print(f"rendering with {' '.join(command)}")
    definitions = _definitions()
    wrong = 0
    for overlay in overlays():
        manifests = Manifests.parse(render(OVERLAYS / overlay, command))
        wrong += _tell(overlay, f"{len(manifests.objects)} objects, rendered as committed", _stale(overlay, manifests))
        for version in schemas.SUPPORTED:
            own = sum(schemas.is_built_in(one) for one in manifests.objects)
            wrong += _tell(
                overlay, f"{own} objects by Kubernetes {version}", schemas.check_built_in(manifests, version)
            )
        if definitions is not None:
            others = sum(not schemas.is_built_in(one) for one in manifests.objects)
            wrong += _tell(overlay, f"{others} custom resources by their definitions", definitions.check(manifests))
        wrong += _tell(overlay, f"{len(policies.ALL)} sets of rules of our own", policies.check(manifests))
    if definitions is None:
        print(
            f"\nNOT CHECKED: custom resources, because there is no folder {os.environ.get(CRDS) or '(none named)'}.\n"
            f"Name a folder that holds the CRDs of KEDA, RabbitMQ, MongoDB and Prometheus in {CRDS}."
        )
    return 1 if wrong else 0


def _stale(overlay: str, manifests: Manifests) -> Sequence[Finding]:
    path = RENDERED / f"{overlay}.yaml"
    if path.is_file() and Manifests.read(path).objects == manifests.objects:
        return []
    return [Finding(str(path.relative_to(ROOT)), "is not what the overlay renders to: run `make k8s-render`, commit")]


def _definitions() -> schemas.Definitions | None:
    folder = os.environ.get(CRDS)
    if not folder or not Path(folder).is_dir():
        return None
    return schemas.Definitions.read(Path(folder))


def _tell(overlay: str, what: str, found: Sequence[Finding]) -> int:
    print(f"{'ok  ' if not found else 'FAIL'} {overlay}: {what}")
    for finding in found:
        print(f"       {finding}")
    return len(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
