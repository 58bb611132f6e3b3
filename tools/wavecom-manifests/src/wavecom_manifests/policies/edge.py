"""What stands before the API lets through what the API takes, and waits as long as an answer may take."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from ingest_api.routes.batch import MAX_BATCH_BYTES
from pydantic import ValidationError

from wavecom_manifests.environment import Environment, load
from wavecom_manifests.objects import Finding, Manifests, Object
from wavecom_manifests.processes import PROCESSES

_BODY: Final = "nginx.org/client-max-body-size"
_WAIT: Final = "nginx.org/proxy-read-timeout"
_FACTORS: Final = {"": 1, "k": 1024, "m": 1024**2, "s": 1}
_API: Final = "ingest-api"


def check(manifests: Manifests) -> Sequence[Finding]:
    """Every Ingress."""
    return [finding for ingress in manifests.of("Ingress") for finding in _ingress(ingress, manifests)]


def _ingress(ingress: Object, manifests: Manifests) -> Iterator[Finding]:
    annotations = ingress.body["metadata"].get("annotations", {})
    body_bytes = _number(annotations.get(_BODY, ""))
    if body_bytes != MAX_BATCH_BYTES:
        yield ingress.finding(f"lets bodies of {body_bytes} bytes through, the API those of {MAX_BATCH_BYTES}")
    accept_s = _accept_timeout_s(manifests)
    if accept_s is not None and _number(annotations.get(_WAIT, "")) <= accept_s:
        yield ingress.finding(f"gives up on an answer that may take {accept_s:g} s")
    served = {host for entry in ingress.spec.get("tls", []) for host in entry["hosts"]}
    hosts = {rule.get("host", "any host") for rule in ingress.spec["rules"]}
    yield from (ingress.finding(f"serves {host} without TLS") for host in sorted(hosts - served))


def _accept_timeout_s(manifests: Manifests) -> float | None:
    deployment = manifests.find("Deployment", _API)
    if deployment is None:
        return None
    try:
        settings = load(PROCESSES[_API].settings, Environment.of(deployment.containers[0], manifests))
    except ValidationError:
        return None  # said by the check of the settings
    return float(settings.model_dump()["accept_timeout_s"])


def _number(text: str) -> int:
    """A size or a time as nginx writes it; 0 for what is neither."""
    match = re.fullmatch(r"(\d+)([kms]?)", text)
    return int(match[1]) * _FACTORS[match[2]] if match else 0
