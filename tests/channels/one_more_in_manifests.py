"""A channel more in the manifests: the copy's overlays render, and validate like ours.

`make k8s-validate` runs it, and not `make test`: it needs a kustomize and the schemas of Kubernetes.
"""

import os
from pathlib import Path

import pytest
import yaml
from wavecom_manifests.__main__ import CRDS
from wavecom_manifests.repository import overlays

from tests.channels.workspace import CHANNEL, with_one_more
from tests.docs.pages import ROOT


@pytest.mark.timeout(300)
def test_the_manifests_of_one_channel_more_validate(tmp_path: Path) -> None:
    workspace = with_one_more(tmp_path)
    # The tools that are installed here, such as a kustomize built for us.
    (workspace.root / ".tools").symlink_to(ROOT / ".tools")
    workspace.run("-m", "wavecom_manifests", "render")
    environment = {**os.environ, CRDS: str(ROOT / os.environ.get(CRDS, "none"))}
    validated = workspace.run("-m", "wavecom_manifests", "validate", environment=environment)
    assert "FAIL" not in validated
    for overlay in overlays():
        text = (workspace.root / f"deploy/k8s/rendered/{overlay}.yaml").read_text()
        found = {
            one["kind"] for one in yaml.safe_load_all(text) if one and one["metadata"]["name"] == f"{CHANNEL}-sender"
        }
        assert found >= {"Deployment", "PodDisruptionBudget", "Permission", "ScaledObject", "TopicPermission", "User"}
        assert f"{CHANNEL}-to-providers" in text
