"""The committed renders are of the committed sources, and a broken source is told of."""

from pathlib import Path

import pytest
from wavecom_manifests.render import RenderError, render
from wavecom_manifests.repository import RENDERED, digest, overlays


@pytest.mark.parametrize("overlay", overlays())
def test_a_committed_render_is_of_the_sources_as_they_are(overlay: str) -> None:
    assert digest(overlay) in (RENDERED / f"{overlay}.yaml").read_text(), "run `make k8s-render` and commit"


def test_what_the_renderer_says_is_handed_on(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="no such kustomization"):
        render(tmp_path, ["sh", "-c", "echo no such kustomization >&2; exit 1"])
