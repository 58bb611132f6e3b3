"""Every variable of ours is a setting of its process, and every value one the process accepts."""

from collections.abc import Sequence

from wavecom_manifests import environment
from wavecom_manifests.environment import Environment
from wavecom_manifests.objects import Container, Finding, Manifests, Object
from wavecom_manifests.processes import PROCESSES, settings_of


def check(manifests: Manifests) -> Sequence[Finding]:
    """Every container of ours, and that every process of the code is deployed."""
    found = [
        Finding("the overlay", f"has no Deployment {name}")
        for name in PROCESSES
        if manifests.find("Deployment", name) is None
    ]
    for maker in manifests.pod_makers:
        settings = settings_of(maker.name)
        if settings is None:
            continue
        for container in maker.containers:
            seen = Environment.of(container, manifests)
            found += environment.problems(container.where, settings, seen)
            found += _needed(maker, container, seen)
    return found


def _needed(maker: Object, container: Container, seen: Environment) -> Sequence[Finding]:
    """Without an address of its server a process would look for it on its own host."""
    process = PROCESSES.get(maker.name)
    if process is None:
        return []
    wanted = {"WAVECOM_ADMIN_PORT", "WAVECOM_ADMIN_HOST"}
    if process.uses_broker:
        wanted.add("WAVECOM_RABBITMQ_URL")
    if process.collections:
        wanted |= {"WAVECOM_MONGODB_URL", "WAVECOM_MONGODB_DATABASE"}
    return [Finding(container.where, f"{name} is not set") for name in sorted(wanted - seen.names)]
