"""What scales, scales by the queues its process reads: all of them, and none that is not there."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydantic import ValidationError

from wavecom_manifests import capacity
from wavecom_manifests.broker_plan import planned
from wavecom_manifests.environment import Environment, load
from wavecom_manifests.objects import Finding, Json, Manifests, Object
from wavecom_manifests.processes import PROCESSES

# What one copy does in a second, as measured. Events for the dispatcher and the projector; notifications for the
# senders, which mostly wait for their provider.
CAPACITY: Final[Mapping[str, int]] = {name: copy.per_s for name, copy in capacity.read().copies.items()}
# What waits when a copy more is asked for may take the copies that are there so long.
MOST_WAIT_S: Final = 10.0
# Scaled by their load: they read no queue.
_BY_CPU: Final = ("ingest-api", "status-query")
_METADATA: Final[Mapping[str, str]] = {
    "protocol": "http",  # over AMQP only ready messages are seen, and a busy consumer looks idle
    "mode": "QueueLength",
}


def check(manifests: Manifests) -> Sequence[Finding]:
    """Every scaler, and that every process has one."""
    found: list[Finding] = []
    scalers = list(manifests.of("ScaledObject", "HorizontalPodAutoscaler"))
    targets = [scaler.spec["scaleTargetRef"]["name"] for scaler in scalers]
    found += [Finding(f"Deployment {name}", "has no scaler, or two") for name in PROCESSES if targets.count(name) != 1]
    for scaler in manifests.of("ScaledObject"):
        found += _scaled_object(scaler, declared_queues(manifests), manifests)
    for scaler in manifests.of("HorizontalPodAutoscaler"):
        if scaler.spec["scaleTargetRef"]["name"] not in _BY_CPU:
            found.append(scaler.finding("scales by CPU what should scale by its queues"))
    for deployment in manifests.of("Deployment"):
        if deployment.name in targets and "replicas" in deployment.spec:
            found.append(deployment.finding("sets its replicas, which every apply would take from the scaler"))
    return found


def declared_queues(manifests: Manifests) -> frozenset[str]:
    """The queues the topology job declares."""
    return frozenset(queue.name for queue in planned(manifests).queues)


def queues_of(trigger: Json, declared: frozenset[str]) -> frozenset[str]:
    """The queues KEDA sums up for a trigger; its regular expressions are those of RabbitMQ's management."""
    metadata = trigger["metadata"]
    if metadata.get("useRegex") == "true":
        return frozenset(queue for queue in declared if re.search(metadata["queueName"], queue))
    return declared.intersection({metadata["queueName"]})


def _scaled_object(scaler: Object, declared: frozenset[str], manifests: Manifests) -> Iterator[Finding]:
    process = PROCESSES.get(scaler.spec["scaleTargetRef"]["name"])
    if len(scaler.spec["triggers"]) != 1:
        yield scaler.finding("has several triggers: the largest would count, not the sum")
        return
    [trigger] = scaler.spec["triggers"]
    metadata = trigger["metadata"]
    seen = queues_of(trigger, declared)
    if process is None or seen != frozenset(process.reads):
        yield scaler.finding(
            f"watches {sorted(seen)}, but its process reads {sorted(process.reads if process else [])}"
        )
    if len(seen) > 1 and metadata.get("operation") != "sum":
        yield scaler.finding("does not add its queues up")
    yield from (
        scaler.finding(f"{name} is {metadata.get(name)!r} instead of {value!r}")
        for name, value in _METADATA.items()
        if metadata.get(name) != value
    )
    yield from _limits(scaler, metadata)
    yield from _threshold(scaler, metadata, manifests)
    if not any(one.spec["name"] == metadata.get("vhostName") for one in manifests.of("Vhost")):
        yield scaler.finding(f"there is no virtual host {metadata.get('vhostName')}")
    if manifests.find("TriggerAuthentication", trigger.get("authenticationRef", {}).get("name", "")) is None:
        yield scaler.finding("its TriggerAuthentication is missing")


def _threshold(scaler: Object, metadata: Json, manifests: Manifests) -> Iterator[Finding]:
    """Messages are counted, each of up to so many notifications: the threshold has to do when all of them are full."""
    deployment = manifests.find("Deployment", scaler.spec["scaleTargetRef"]["name"])
    if deployment is None or deployment.name not in CAPACITY or not str(metadata.get("value", "")).isdecimal():
        return
    try:
        settings = load(PROCESSES[deployment.name].settings, Environment.of(deployment.containers[0], manifests))
    except ValidationError:
        return  # said by the check of the settings
    wait_s = int(metadata["value"]) * settings.batch_max_events / CAPACITY[deployment.name]
    if wait_s > MOST_WAIT_S:
        yield scaler.finding(f"lets full messages wait {wait_s:.0f} s before it asks for a copy more")
    prefetch = getattr(settings, "prefetch", 0)
    if prefetch > int(metadata["value"]):
        yield scaler.finding(
            f"asks for a copy more while the others still hold all there is ({prefetch} messages each)"
        )


def _limits(scaler: Object, metadata: Json) -> Iterator[Finding]:
    if not str(metadata.get("value", "")).isdecimal() or int(metadata["value"]) < 1:
        yield scaler.finding(f"its value is {metadata.get('value')!r}")
    yield from (
        scaler.finding(f"does not say its {name}")
        for name in ("minReplicaCount", "maxReplicaCount")
        if name not in scaler.spec
    )
    yield from _about_zero(scaler)
    if "activationValue" not in metadata:
        yield scaler.finding("does not say its activationValue")
    behavior = scaler.spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {}).get("behavior", {})
    if behavior.get("scaleDown", {}).get("stabilizationWindowSeconds", 0) < 120:
        yield scaler.finding("scales down within two minutes: every step down costs its messages a redelivery")


def _about_zero(scaler: Object) -> Iterator[Finding]:
    """KEDA itself decides between none and one. Above that the HorizontalPodAutoscaler reads, in its own rhythm.

    Sources: https://keda.sh/docs/latest/reference/scaledobject-spec/; tried with KEDA 2.20, see `docs/runbooks`.
    """
    if "fallback" in scaler.spec:
        yield scaler.finding("has a fallback: KEDA would not count the errors behind it, and no alert could fire")
    to_zero = scaler.spec.get("minReplicaCount") == 0
    for name in ("pollingInterval", "cooldownPeriod"):
        if to_zero and name not in scaler.spec:
            yield scaler.finding(f"does not say its {name}")
        if not to_zero and name in scaler.spec:
            yield scaler.finding(f"says {name}, which means nothing unless it may go to zero")
