"""A port is the same in the settings, the container, its probes, the services and whoever connects.

Readiness alone may ask for what other servers take away: what starts meanwhile has to begin, and what lives to live on.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from pydantic import ValidationError
from starlette.routing import Route
from wavecom_common.hosting.admin import admin_app

from wavecom_manifests.environment import Environment, load
from wavecom_manifests.objects import Container, Finding, Manifests, Object
from wavecom_manifests.processes import settings_of

# What a settings' field of a port is called on the container.
_PORT_NAMES: Final = {"admin_port": "admin", "http_port": "http", "grpc_port": "grpc"}
_HOSTS: Final = ("admin_host", "http_host", "grpc_host")
_READY: Final = "/health/ready"
_ADMIN_PATHS: Final = frozenset(route.path for route in admin_app(list, list).routes if isinstance(route, Route))


def check(manifests: Manifests) -> Sequence[Finding]:
    """Processes, services, monitors, and the addresses written into settings."""
    found: list[Finding] = []
    for maker in manifests.of("Deployment", "StatefulSet"):
        for container in maker.containers:
            found += _probes(maker, container)
            found += _settings(maker, container, manifests)
    for service in manifests.of("Service"):
        found += _service(service, manifests)
    for monitor in manifests.of("ServiceMonitor"):
        found += _monitor(monitor, manifests)
    return found


def _settings(maker: Object, container: Container, manifests: Manifests) -> Iterator[Finding]:
    kind = settings_of(maker.name)
    if kind is None:
        return
    try:
        settings = load(kind, Environment.of(container, manifests))
    except ValidationError:
        return  # said by the check of the settings
    wanted = {_PORT_NAMES[field]: getattr(settings, field) for field in _PORT_NAMES if field in kind.model_fields}
    if wanted != dict(container.ports):
        yield Finding(container.where, f"its ports are {dict(container.ports)}, its settings say {wanted}")
    for field in _HOSTS:
        if getattr(settings, field, "0.0.0.0") != "0.0.0.0":  # noqa: S104 - inside a pod: only policies narrow it
            yield Finding(container.where, f"listens on {getattr(settings, field)}, which is not the pod's address")
    if "status_query_target" in kind.model_fields:
        yield from _target(container, str(getattr(settings, "status_query_target")), manifests)  # noqa: B009
    yield from _servers(container, manifests)


def _target(container: Container, target: str, manifests: Manifests) -> Iterator[Finding]:
    """Client-side balancing needs a name that resolves to every pod: that of a headless service."""
    scheme, _, address = target.partition(":///")
    host, _, port = address.rpartition(":")
    services = {f"{one.name}.{one.namespace}.svc.cluster.local": one for one in manifests.of("Service")}
    service = services.get(host)
    if scheme != "dns" or service is None:
        yield Finding(container.where, f"{target} is not the DNS name of a service here")
    elif service.spec.get("clusterIP") != "None":
        yield Finding(container.where, f"{target} is not headless: one pod would get every call")
    elif int(port) not in _service_ports(service).values():
        yield Finding(container.where, f"{target} is a port its service does not have")


def _servers(container: Container, manifests: Manifests) -> Iterator[Finding]:
    variable = container.variables.get("WAVECOM_RABBITMQ_URL")
    if variable is None:
        return
    url = urlsplit(str(variable.get("value", "")))
    if url.hostname is None or manifests.find("RabbitmqCluster", url.hostname) is None:
        yield Finding(container.where, f"there is no RabbitmqCluster {url.hostname}")
    if (url.scheme, url.port) not in {("amqp", 5672), ("amqps", 5671)}:
        yield Finding(container.where, f"{url.scheme} on port {url.port} is not where the broker listens")
    if not any(one.spec["name"] == url.path.removeprefix("/") for one in manifests.of("Vhost")):
        yield Finding(container.where, f"there is no virtual host {url.path.removeprefix('/')}")


def _probes(maker: Object, container: Container) -> Iterator[Finding]:
    for name, probe in container.probes.items():
        asked = probe.get("httpGet", {})
        if asked.get("port") not in container.ports:
            yield Finding(container.where, f"{name} asks port {asked.get('port')}, which it does not have")
        if settings_of(maker.name) is not None and asked.get("path") not in _ADMIN_PATHS:
            yield Finding(container.where, f"{name} asks for {asked.get('path')}, which nobody answers")
        if name != "readinessProbe" and asked.get("path") == _READY:
            yield Finding(container.where, f"{name} asks for {_READY}, which fails while the broker is away")


def _service(service: Object, manifests: Manifests) -> Iterator[Finding]:
    selector: Mapping[str, str] = service.spec.get("selector", {})
    makers = [one for one in manifests.of("Deployment", "StatefulSet") if selector.items() <= one.pod_labels.items()]
    if not makers:
        if not any(True for one in manifests.of("MongoDBCommunity") if selector.items() <= _member_labels(one).items()):
            yield service.finding("selects no pod")
        return
    for maker in makers:
        ports = {name: port for container in maker.containers for name, port in container.ports.items()}
        for port in service.spec["ports"]:
            if port["targetPort"] not in ports and port["targetPort"] not in ports.values():
                yield service.finding(f"{maker.where} has no port {port['targetPort']}")
            elif service.spec.get("clusterIP") == "None" and ports.get(port["targetPort"]) != port["port"]:
                yield service.finding(f"is headless, so {port['port']} has to be the port of {maker.where} itself")


def _member_labels(cluster: Object) -> Mapping[str, str]:
    labels: Mapping[str, str] = cluster.spec["statefulSet"]["spec"]["template"]["metadata"]["labels"]
    return labels


def _monitor(monitor: Object, manifests: Manifests) -> Iterator[Finding]:
    wanted = monitor.spec["selector"]["matchLabels"]
    services = [one for one in manifests.of("Service") if wanted.items() <= one.labels.items()]
    if not services:
        if manifests.find("RabbitmqCluster", wanted.get("app.kubernetes.io/name", "")) is None:
            yield monitor.finding("selects no service")
        return
    for endpoint in monitor.spec["endpoints"]:
        for service in services:
            if endpoint["port"] not in _service_ports(service):
                yield monitor.finding(f"{service.where} has no port {endpoint['port']}")


def _service_ports(service: Object) -> Mapping[str, int]:
    return {port["name"]: port["port"] for port in service.spec["ports"]}
