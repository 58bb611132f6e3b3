"""A pod is given the time its process takes to stop, and the process the time its provider calls take to end."""

from collections.abc import Iterator, Sequence
from typing import Final

from pydantic import ValidationError
from wavecom_common.hosting.sender import SenderSettings

from wavecom_manifests.environment import Environment, load
from wavecom_manifests.objects import Finding, Manifests, Object
from wavecom_manifests.processes import PROCESSES

# To flush spans, close connections and end, after the drain.
CLOSING_S: Final = 10
# Served to others: their pods wait before they stop, until nobody chooses them any more.
_SERVERS: Final = ("ingest-api", "status-query")


def check(manifests: Manifests) -> Sequence[Finding]:
    """Every process."""
    return [
        finding
        for name in PROCESSES
        if (deployment := manifests.find("Deployment", name)) is not None
        for finding in _deployment(deployment, manifests)
    ]


def _deployment(deployment: Object, manifests: Manifests) -> Iterator[Finding]:
    pod = (deployment.pod_template or {})["spec"]
    [container] = deployment.containers
    try:
        settings = load(PROCESSES[deployment.name].settings, Environment.of(container, manifests))
    except ValidationError:
        return  # said by the check of the settings
    pause_s = container.spec.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    needed_s = pause_s + settings.drain_timeout_s + CLOSING_S
    if pod.get("terminationGracePeriodSeconds", 0) < needed_s:
        yield deployment.finding(
            f"is killed after {pod.get('terminationGracePeriodSeconds')} s, but takes up to {needed_s:g} s to stop"
        )
    if deployment.name in _SERVERS and pause_s == 0:
        yield deployment.finding("stops while callers may still choose it")
    if isinstance(settings, SenderSettings) and settings.drain_timeout_s < settings.provider_timeout_s:
        yield deployment.finding("its drain cuts provider calls short, which leaves their outcomes unknown")
