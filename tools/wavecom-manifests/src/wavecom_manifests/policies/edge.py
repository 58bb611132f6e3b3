"""What stands before the API lets through what the API takes, under names it serves, for as long as an answer takes."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from ingest_api.accept import CONCLUDE_S
from ingest_api.access import AllowedHosts
from ingest_api.body import BODY_TIMEOUT_S
from ingest_api.routes.batch import MAX_BATCH_BYTES
from ingest_api.settings import IngestSettings
from pydantic import ValidationError

from wavecom_manifests.environment import Environment, load
from wavecom_manifests.objects import Finding, Manifests, Object
from wavecom_manifests.processes import PROCESSES

_BODY: Final = "nginx.org/client-max-body-size"
_WAIT: Final = "nginx.org/proxy-read-timeout"
_FACTORS: Final = {"": 1, "k": 1024, "m": 1024**2, "s": 1}
_API: Final = "ingest-api"
# The process itself (135 MB at the most in any benchmark), idle connections, heads and answers.
_OTHER_MEMORY_BYTES: Final = 224 * 1024**2


def check(manifests: Manifests) -> Sequence[Finding]:
    """Every Ingress, and the names of the Service."""
    settings = _settings(manifests)
    found = [finding for ingress in manifests.of("Ingress") for finding in _ingress(ingress, settings)]
    found += _memory(manifests, settings)
    service = manifests.find("Service", _API)
    if service is not None and settings is not None:
        names = [_API, f"{_API}.{service.namespace}", f"{_API}.{service.namespace}.svc"]
        found += _not_served(service, settings, names)
    return found


def _ingress(ingress: Object, settings: IngestSettings | None) -> Iterator[Finding]:
    annotations = ingress.body["metadata"].get("annotations", {})
    body_bytes = _number(annotations.get(_BODY, ""))
    if body_bytes != MAX_BATCH_BYTES:
        yield ingress.finding(f"lets bodies of {body_bytes} bytes through, the API those of {MAX_BATCH_BYTES}")
    served = {host for entry in ingress.spec.get("tls", []) for host in entry["hosts"]}
    hosts = {rule.get("host", "any host") for rule in ingress.spec["rules"]}
    yield from (ingress.finding(f"serves {host} without TLS") for host in sorted(hosts - served))
    if settings is not None:
        # The body, all steps up to the confirm, and the conclusion.
        answer_s = BODY_TIMEOUT_S + settings.accept_timeout_s + CONCLUDE_S
        if _number(annotations.get(_WAIT, "")) <= answer_s:
            yield ingress.finding(f"gives up on an answer that may take {answer_s:g} s")
        yield from _not_served(ingress, settings, sorted(hosts))


def _memory(manifests: Manifests, settings: IngestSettings | None) -> Iterator[Finding]:
    """Requests may fill what they are allowed without the pod being killed for it."""
    deployment = manifests.find("Deployment", _API)
    if deployment is None or settings is None:
        return
    [limit] = [one.spec.get("resources", {}).get("limits", {}).get("memory", "") for one in deployment.containers]
    needed = settings.request_memory_bytes + _OTHER_MEMORY_BYTES
    if limit and _bytes(limit) < needed:
        yield deployment.finding(f"has {limit} of memory, and needs {needed} bytes when requests take what they may")


def _not_served(where: Object, settings: IngestSettings, hosts: Sequence[str]) -> Iterator[Finding]:
    served = AllowedHosts(settings.allowed_host_list)
    for host in hosts:
        if not served.allows(host.encode()):
            yield where.finding(f"sends requests for {host}, which WAVECOM_ALLOWED_HOSTS of the API does not have")


def _settings(manifests: Manifests) -> IngestSettings | None:
    deployment = manifests.find("Deployment", _API)
    if deployment is None:
        return None
    try:
        settings = load(PROCESSES[_API].settings, Environment.of(deployment.containers[0], manifests))
    except ValidationError:
        return None  # said by the check of the settings
    assert isinstance(settings, IngestSettings)
    return settings


def _number(text: str) -> int:
    """A size or a time as nginx writes it; 0 for what is neither."""
    match = re.fullmatch(r"(\d+)([kms]?)", text)
    return int(match[1]) * _FACTORS[match[2]] if match else 0


def _bytes(quantity: str) -> int:
    """A memory quantity as Kubernetes writes it; 0 for what is none."""
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi)?", quantity)
    return int(match[1]) * {None: 1, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}[match[2]] if match else 0
