"""What an overlay sets comes out of it, and what loses on the way is found."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
from wavecom_manifests import overrides
from wavecom_manifests.objects import Json, Manifests
from wavecom_manifests.repository import OVERLAYS, RENDERED, overlays


@pytest.fixture
def dev() -> Manifests:
    return Manifests.read(RENDERED / "dev.yaml")


def found(manifests: Manifests, overlay: Path = OVERLAYS / "dev") -> list[str]:
    return [str(finding) for finding in overrides.check(overlay, manifests)]


@pytest.mark.parametrize("overlay", overlays())
def test_every_override_of_the_committed_overlays_wins(overlay: str) -> None:
    assert found(Manifests.read(RENDERED / f"{overlay}.yaml"), OVERLAYS / overlay) == []


def _settings(manifests: Manifests) -> Json:
    return next(one.body["data"] for one in manifests.of("ConfigMap") if one.name.startswith("wavecom-settings"))


def _app(manifests: Manifests, name: str) -> Json:
    deployment = manifests.find("Deployment", name)
    assert deployment is not None
    return deployment.body["spec"]["template"]["spec"]["containers"][0]


def _spec(manifests: Manifests, kind: str, name: str) -> Json:
    one = manifests.find(kind, name)
    assert one is not None
    return one.body["spec"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # A component that is applied after the overlay's own ConfigMaps were made.
        (
            lambda m: _settings(m).update(OTEL_TRACES_SAMPLER_ARG="0.1"),
            "OTEL_TRACES_SAMPLER_ARG=1 in wavecom-settings: loses: the ConfigMap has '0.1'",
        ),
        # A variable of the container hides the one of the ConfigMap.
        (
            lambda m: _app(m, "dispatcher")["env"].append({"name": "WAVECOM_LOG_LEVEL", "value": "info"}),
            "WAVECOM_LOG_LEVEL=debug in wavecom-settings: loses: Deployment dispatcher, container app sees 'info'",
        ),
        # A component's patch that comes after the overlay's.
        (
            lambda m: _app(m, "otel-sampler")["env"][0].update(value="10"),
            "/env[KEPT_PERCENT]/value is '10', not '100'",
        ),
        (
            lambda m: _spec(m, "ScaledObject", "dispatcher").update(minReplicaCount=2),
            "/spec/minReplicaCount is 2, not 0",
        ),
        (lambda m: m.objects.remove(m.find("RabbitmqCluster", "rabbitmq")), "changes nothing: there is no such object"),
        (
            lambda m: _app(m, "dispatcher")["env"].extend([{"name": "TWICE", "value": one} for one in "ab"]),
            "TWICE is set twice",
        ),
    ],
)
def test_an_override_that_loses_is_found(dev: Manifests, change: Callable[[Manifests], None], expected: str) -> None:
    broken = deepcopy(dev)
    change(broken)
    assert any(expected in one for one in found(broken)), found(broken)
