"""`python -m wavecom_manifests render`, `... figures` and `... validate`.

The first writes what templates make and `deploy/k8s/rendered`, the second the tables of figures in documents, the third
checks everything.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from wavecom_manifests import alert_cases, figures, overrides, policies, schemas, templates
from wavecom_manifests.objects import Finding, Manifests
from wavecom_manifests.render import RenderError, render, renderer
from wavecom_manifests.repository import OVERLAYS, RENDERED, ROOT, digest, overlays

CRDS: Final = "WAVECOM_CRDS"
# The digest is for those who have no kustomize at hand: it tells them whether this is of today.
_HEADER: Final = "# Rendered from overlays/{overlay} by `make k8s-render`. Do not edit.\n# Sources: sha256 {digest}\n"

_NOT_CHECKED: Final = """
NOT CHECKED: the custom resources of KEDA, RabbitMQ, MongoDB and Prometheus, because their definitions are not here:
there is no folder {folder}.
They are not this project's to keep. To check them, put the YAML files of the CustomResourceDefinitions you install into
one folder, as `kubectl get crd -o yaml` or the projects' releases give them, and run
    {variable}=<that folder> make k8s-validate"""


def main(arguments: Sequence[str]) -> int:
    """Run a command; the exit status is 1 when anything is wrong."""
    commands: dict[str, Callable[[], int]] = {"render": _render, "figures": _figures, "validate": _validate}
    if len(arguments) != 1 or arguments[0] not in commands:
        print("usage: python -m wavecom_manifests render|figures|validate", file=sys.stderr)
        return 2
    try:
        return commands[arguments[0]]()
    except RenderError as error:
        print(error, file=sys.stderr)
        return 1


def _render() -> int:
    for template in templates.templates():
        templates.target(template).write_text(templates.made(template))
        print(f"wrote {templates.target(template).relative_to(ROOT)}")
    command = renderer()
    RENDERED.mkdir(exist_ok=True)
    for overlay in overlays():
        path = RENDERED / f"{overlay}.yaml"
        path.write_text(_HEADER.format(overlay=overlay, digest=digest(overlay)) + render(OVERLAYS / overlay, command))
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


def _figures() -> int:
    for document in figures.DOCUMENTS:
        document.write_text(figures.written(document))
        print(f"wrote the tables of {document.relative_to(ROOT)}")
    return 0


def _validate() -> int:
    command = renderer()
    print(f"rendering with {' '.join(command)}")
    definitions = _definitions()
    wrong = _tell("templates", "their files are what they make", list(templates.stale()))
    for overlay in overlays():
        manifests = Manifests.parse(render(OVERLAYS / overlay, command))
        wrong += _tell(overlay, f"{len(manifests.objects)} objects, rendered as committed", _stale(overlay, manifests))
        for version in schemas.SUPPORTED:
            own = sum(schemas.is_built_in(one) for one in manifests.objects)
            wrong += _tell(
                overlay, f"{own} objects by Kubernetes {version}", schemas.check_built_in(manifests, version)
            )
        others = sum(not schemas.is_built_in(one) for one in manifests.objects)
        if definitions is None:
            print(f"SKIP {overlay}: {others} custom resources by their definitions, which are not here")
        else:
            wrong += _tell(overlay, f"{others} custom resources by their definitions", definitions.check(manifests))
            for kind in definitions.lacking(manifests):
                print(f"SKIP {overlay}: {kind} by its definition, which is not in the folder")
        wrong += _tell(overlay, "its own settings and patches win", overrides.check(OVERLAYS / overlay, manifests))
        wrong += _tell(overlay, f"{len(policies.ALL)} sets of rules of our own", policies.check(manifests))
    wrong += _try_alerts()
    if definitions is None:
        print(_NOT_CHECKED.format(folder=_named() or "(none named)", variable=CRDS))
    return 1 if wrong else 0


def _try_alerts() -> int:
    program, what = alert_cases.promtool(), f"cases of {alert_cases.CASES.name} by promtool"
    if program is None:
        print(f"SKIP alerts: {what}, which is not here (Debian's package prometheus has it)")
        return 0
    return _tell("alerts", what, alert_cases.check(program, Manifests.read(RENDERED / "prod.yaml")))


def _stale(overlay: str, manifests: Manifests) -> Sequence[Finding]:
    path = RENDERED / f"{overlay}.yaml"
    if path.is_file() and Manifests.read(path).objects == manifests.objects:
        return []
    return [Finding(str(path.relative_to(ROOT)), "is not what the overlay renders to: run `make k8s-render`, commit")]


def _definitions() -> schemas.Definitions | None:
    folder = _named()
    return schemas.Definitions.read(folder) if folder and folder.is_dir() else None


def _named() -> Path | None:
    """The folder of definitions, whether it is there or not."""
    named = os.environ.get(CRDS)
    return Path(named).resolve() if named else None


def _tell(overlay: str, what: str, found: Sequence[Finding]) -> int:
    print(f"{'ok  ' if not found else 'FAIL'} {overlay}: {what}")
    for finding in found:
        print(f"       {finding}")
    return len(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
