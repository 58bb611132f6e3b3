"""The project's own rules for its manifests. Each module has `check(manifests)`, which returns what breaks them."""

from collections.abc import Sequence

from wavecom_manifests.objects import Finding, Manifests
from wavecom_manifests.policies import (
    alerts,
    autoscaling,
    broker_rights,
    database_rights,
    edge,
    failover,
    flows,
    operated,
    pods,
    ports,
    references,
    settings,
    shutdown,
)

ALL = (
    pods,
    operated,
    references,
    settings,
    ports,
    edge,
    shutdown,
    autoscaling,
    failover,
    broker_rights,
    database_rights,
    flows,
    alerts,
)


def check(manifests: Manifests) -> Sequence[Finding]:
    """Everything that breaks a rule."""
    return [finding for policy in ALL for finding in policy.check(manifests)]
