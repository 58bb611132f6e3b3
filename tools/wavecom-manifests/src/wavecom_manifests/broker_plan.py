"""What the topology job declares on the broker, with the settings the manifests give it."""

from pydantic import ValidationError
from wavecom_common.hosting.settings import Settings
from wavecom_common.messaging.topology import Topology, plan

from wavecom_manifests.environment import Environment, load
from wavecom_manifests.objects import Manifests


def planned(manifests: Manifests) -> Topology:
    """The exchanges and queues; none with settings the job would refuse."""
    job = manifests.find("Job", "topology")
    try:
        settings = load(Settings, Environment.of(job.containers[0], manifests)) if job else None
    except ValidationError:
        settings = None
    return plan(settings.broker_delays_ms) if settings else Topology({})
