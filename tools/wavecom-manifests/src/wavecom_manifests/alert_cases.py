"""The alerts tried with figures made up for them, by Prometheus' own promtool where it is on the machine."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import yaml

from wavecom_manifests.objects import Finding, Manifests
from wavecom_manifests.repository import KUBERNETES

CASES: Final = KUBERNETES / "components/monitoring/alerts.cases.yaml"


def promtool() -> str | None:
    """Where it is; None when it is not installed."""
    return shutil.which("promtool")


def check(program: str, manifests: Manifests) -> Sequence[Finding]:
    """What promtool says is wrong with the rules, or comes out otherwise than the cases say."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        [rules] = manifests.of("PrometheusRule")
        (folder / "rules.yaml").write_text(yaml.safe_dump(dict(rules.spec)))
        shutil.copy(CASES, folder / "cases.yaml")
        commands = (["check", "rules", "rules.yaml"], ["test", "rules", "cases.yaml"])
        done = [
            subprocess.run([program, *command], cwd=folder, capture_output=True, text=True, check=False)
            for command in commands
        ]
    return [
        rules.finding(f"promtool {' '.join(command)}:\n{one.stdout}{one.stderr}")
        for command, one in zip(commands, done, strict=True)
        if one.returncode != 0
    ]
