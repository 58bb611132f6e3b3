"""The committed renders of the overlays, read once."""

from functools import cache

import pytest
from wavecom_manifests.objects import Manifests
from wavecom_manifests.repository import RENDERED, overlays


@cache
def _read(overlay: str) -> Manifests:
    return Manifests.read(RENDERED / f"{overlay}.yaml")


@pytest.fixture(params=overlays())
def manifests(request: pytest.FixtureRequest) -> Manifests:
    """Every overlay, one after the other."""
    return _read(request.param)


@pytest.fixture
def prod() -> Manifests:
    """What production runs."""
    return _read("prod")
