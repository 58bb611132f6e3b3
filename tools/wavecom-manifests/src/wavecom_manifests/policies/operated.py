"""Pods that operators make of our resources: the namespace admits them only when they are as restricted as our own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from wavecom_manifests.objects import Finding, Json, Manifests, Object
from wavecom_manifests.policies.pods import unconfined

# The containers each operator makes. What it says of their security itself is not enough, or may change: we say it.
# Sources: https://github.com/rabbitmq/cluster-operator/issues/1910, https://github.com/mongodb/mongodb-kubernetes.
CONTAINERS: Final[Mapping[str, Sequence[str]]] = {
    "RabbitmqCluster": ("setup-container", "rabbitmq"),
    "MongoDBCommunity": ("mongod-posthook", "mongodb-agent-readinessprobe", "mongod", "mongodb-agent"),
}


def check(manifests: Manifests) -> Sequence[Finding]:
    """Every resource that becomes pods."""
    return [
        finding
        for one in manifests.of(*CONTAINERS)
        for finding in _pods(one, pod_of(one), [f"{one.where}, container {name}" for name in CONTAINERS[one.kind]])
    ]


def pod_of(one: Object) -> Json:
    """What the resource says of its pods; the operator merges it into what it makes."""
    root = one.spec.get("override", {}) if one.kind == "RabbitmqCluster" else one.spec
    return root.get("statefulSet", {}).get("spec", {}).get("template", {}).get("spec", {})


def _pods(one: Object, pod: Json, wanted: Sequence[str]) -> Iterator[Finding]:
    context = pod.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield one.finding("its pods may run as root or without a seccomp profile, so the namespace refuses them")
    said = {
        f"{one.where}, container {spec['name']}": spec.get("securityContext", {})
        for spec in [*pod.get("initContainers", []), *pod.get("containers", [])]
    }
    for where in wanted:
        yield from (Finding(where, wrong) for wrong in unconfined(said.get(where, {})))
