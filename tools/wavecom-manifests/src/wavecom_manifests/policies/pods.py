"""How every pod has to be: restricted, limited, watched, evicted one at a time, spread, without a token."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from wavecom_manifests.objects import Container, Finding, Manifests, Object

_RESTRICTED: Final = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/warn": "restricted",
    "pod-security.kubernetes.io/audit": "restricted",
}
_LONG_LIVED: Final = ("Deployment", "StatefulSet", "DaemonSet")


def check(manifests: Manifests) -> Sequence[Finding]:
    """Every namespace, pod template and container."""
    found: list[Finding] = []
    for namespace in manifests.of("Namespace"):
        found += [namespace.finding(f"lacks {k}: {v}") for k, v in _RESTRICTED.items() if namespace.labels.get(k) != v]
    for maker in manifests.pod_makers:
        found += _pod(maker)
        for container in maker.containers:
            found += _container(container)
        if maker.kind in _LONG_LIVED:
            found += _long_lived(maker, manifests)
    return found


def _pod(maker: Object) -> Iterator[Finding]:
    pod = (maker.pod_template or {})["spec"]
    context = pod.get("securityContext", {})
    rules: list[tuple[str, bool]] = [
        ("its pods mount the token of their service account", pod.get("automountServiceAccountToken") is False),
        ("its pods have no service account of their own", pod.get("serviceAccountName", "default") != "default"),
        ("its pods may run as root", context.get("runAsNonRoot") is True and context.get("runAsUser", 0) > 0),
        ("its pods run without a seccomp profile", context.get("seccompProfile", {}).get("type") == "RuntimeDefault"),
        ("its pods share the node's network, processes or memory", not _shares_the_node(pod)),
        ("its pods mount a folder of the node", not any("hostPath" in one for one in pod.get("volumes", []))),
        ("its pods' shutdown has no time limit of its own", "terminationGracePeriodSeconds" in pod or _is_job(maker)),
    ]
    return (maker.finding(wrong) for wrong, right in rules if not right)


def _container(container: Container) -> Iterator[Finding]:
    spec = container.spec
    resources = spec.get("resources", {})
    rules: list[tuple[str, bool]] = [
        ("is not pinned: ours to a version, others to a digest", _is_pinned(spec.get("image", ""))),
        *(
            (f"has no {kind} for {resource}", resource in resources.get(kind, {}))
            for kind in ("requests", "limits")
            for resource in ("cpu", "memory")
        ),
    ]
    wrongs = [*unconfined(spec.get("securityContext", {})), *(wrong for wrong, right in rules if not right)]
    return (Finding(container.where, wrong) for wrong in wrongs)


def unconfined(context: Mapping[str, Any]) -> Sequence[str]:
    """What a container's security context lacks."""
    rules: list[tuple[str, bool]] = [
        ("may write to its root file system", context.get("readOnlyRootFilesystem") is True),
        ("may gain privileges", context.get("allowPrivilegeEscalation") is False),
        ("keeps capabilities", context.get("capabilities", {}).get("drop") == ["ALL"]),
        ("adds capabilities", not context.get("capabilities", {}).get("add")),
    ]
    return [wrong for wrong, right in rules if not right]


def _long_lived(maker: Object, manifests: Manifests) -> Iterator[Finding]:
    for container in maker.containers:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe not in container.probes:
                yield Finding(container.where, f"has no {probe}")
    if not (maker.pod_template or {})["spec"].get("topologySpreadConstraints"):
        yield maker.finding("does not spread its pods over nodes")
    budgets = [one for one in manifests.of("PodDisruptionBudget") if _selects(one, maker)]
    if len(budgets) != 1:
        yield maker.finding(f"has {len(budgets)} disruption budgets instead of one")
    yield from (
        budget.finding("lets sick pods block a node's drain")
        for budget in budgets
        if budget.spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow"
    )


def _selects(budget: Object, maker: Object) -> bool:
    wanted: Mapping[str, str] = budget.spec.get("selector", {}).get("matchLabels", {})
    return bool(wanted) and wanted.items() <= maker.pod_labels.items()


def _is_job(maker: Object) -> bool:
    return maker.kind == "Job"


def _shares_the_node(pod: Any) -> bool:
    return any(pod.get(kind) for kind in ("hostNetwork", "hostPID", "hostIPC"))


def _is_pinned(image: str) -> bool:
    """A tag of others may be moved; ours get their digest where they are published, see docs/runbooks/images.md."""
    folder, _, name = image.rpartition("/")
    ours = folder.rpartition("/")[2] == "wavecom" and name.partition(":")[2] not in ("", "latest")
    return "@sha256:" in image or ours
