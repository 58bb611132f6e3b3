"""The network policies let exactly the flows of the design through."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from wavecom_common.channels.registry import declared
from wavecom_common.events.routing import sender_name

from wavecom_manifests.objects import Finding, Json, Manifests, Object
from wavecom_manifests.processes import PROCESSES

Labels = Mapping[str, str]
# From, to, port. A port is a number or a range, as text.
Flow = tuple[str, str, str]

_NAME: Final = "app.kubernetes.io/name"
_BROKER_CLIENTS: Final = [*(name for name, process in PROCESSES.items() if process.uses_broker), "topology", "operator"]
_DATABASE_CLIENTS: Final = [*(name for name, process in PROCESSES.items() if process.collections), "schema", "operator"]
_BETWEEN_BROKERS: Final = ("4369", "25672", "35672-35682", "6000-6500")
_INTERNET: Final = "the internet"
_ANYWHERE: Final = "anywhere"  # the API server has no address a policy could name

FLOWS: Final[frozenset[Flow]] = frozenset(
    {
        ("nginx-ingress/nginx-ingress", "ingest-api", "3000"),
        ("ingest-api", "status-query", "50051"),
        *((client, "rabbitmq", "5672") for client in _BROKER_CLIENTS),
        *(("rabbitmq", "rabbitmq", port) for port in _BETWEEN_BROKERS),
        ("keda/keda-operator", "rabbitmq", "15672"),
        ("rabbitmq-system/rabbitmq-operator", "rabbitmq", "15672"),
        *((client, "mongodb", "27017") for client in [*_DATABASE_CLIENTS, "mongodb"]),
        *((server, _ANYWHERE, port) for server in ("rabbitmq", "mongodb") for port in ("443", "6443")),
        *((name, "otel-collector", "4317") for name in PROCESSES),
        ("otel-collector", "otel-sampler", "4317"),
        ("otel-sampler", "jaeger", "4317"),
        *(("monitoring/prometheus", name, "8080") for name in PROCESSES),
        *(("monitoring/prometheus", name, "8888") for name in ("otel-collector", "otel-sampler", "jaeger")),
        ("monitoring/prometheus", "rabbitmq", "15692"),
        ("monitoring/prometheus", "mongodb", "9216"),
        *(
            (sender_name(channel.name), _INTERNET, str(port))
            for channel in declared().values()
            for port in channel.egress
        ),
    }
)
_NAMES: Final = ("kube-system/kube-dns", "53")  # everybody resolves names


@dataclass(frozen=True)
class Pods:
    """Pods of one kind, by the labels they carry."""

    name: str
    labels: Labels


def check(manifests: Manifests) -> Sequence[Finding]:
    """What may flow, compared with what has to."""
    policies = list(manifests.of("NetworkPolicy"))
    everybody = _everybody(manifests)
    found = [
        Finding("NetworkPolicies", f"nothing denies {direction.lower()} by default")
        for direction in ("Ingress", "Egress")
        if not any(_denies_all(policy, direction) for policy in policies)
    ]
    flows = _flows(everybody, policies)
    wanted = FLOWS | {(pods.name, *_NAMES) for pods in everybody}
    found += [Finding("NetworkPolicies", f"{_shown(flow)} is let through") for flow in sorted(flows - wanted)]
    found += [Finding("NetworkPolicies", f"{_shown(flow)} is not let through") for flow in sorted(wanted - flows)]
    return found + _half(everybody, policies)


def _everybody(manifests: Manifests) -> Sequence[Pods]:
    made = [Pods(one.name, one.pod_labels) for one in manifests.pod_makers]
    brokers = [Pods(one.name, {_NAME: one.name}) for one in manifests.of("RabbitmqCluster")]
    members = [
        Pods(one.name, one.spec["statefulSet"]["spec"]["template"]["metadata"]["labels"])
        for one in manifests.of("MongoDBCommunity")
    ]
    # A person's command, which is in no overlay.
    return [*made, *brokers, *members, Pods("operator", {_NAME: "operator"})]


def _flows(everybody: Sequence[Pods], policies: Sequence[Object]) -> set[Flow]:
    flows: set[Flow] = set()
    for pods in everybody:
        flows |= {(peer, pods.name, port) for peer, port in _outside(pods, policies, "Ingress")}
        flows |= {(pods.name, peer, port) for peer, port in _outside(pods, policies, "Egress")}
    for source, target in product(everybody, everybody):
        both = _ports(source, target, policies, "Egress") & _ports(target, source, policies, "Ingress")
        flows |= {(source.name, target.name, port) for port in both}
    return flows


def _half(everybody: Sequence[Pods], policies: Sequence[Object]) -> list[Finding]:
    """What one side allows and the other doesn't: harmless, but somebody meant something by it."""
    return [
        Finding("NetworkPolicies", f"{_shown((source.name, target.name, port))} is allowed by one side only")
        for source, target in product(everybody, everybody)
        for port in sorted(_ports(source, target, policies, "Egress") ^ _ports(target, source, policies, "Ingress"))
    ]


def _ports(pods: Pods, peer: Pods, policies: Sequence[Object], direction: str) -> set[str]:
    """The ports on which policies of this side let `pods` talk with `peer`, by a selector in our own namespace."""
    return {
        port
        for peers, ports in _rules(pods, policies, direction)
        for one in peers
        if "podSelector" in one and "namespaceSelector" not in one and _matches(one["podSelector"], peer.labels)
        for port in ports
    }


def _outside(pods: Pods, policies: Sequence[Object], direction: str) -> Iterator[tuple[str, str]]:
    for peers, ports in _rules(pods, policies, direction):
        if not peers:
            yield from ((_ANYWHERE, port) for port in ports)
        for one in peers:
            if "ipBlock" in one:
                yield from ((_block(one["ipBlock"]), port) for port in ports)
            elif "namespaceSelector" in one:
                yield from ((_other_namespace(one), port) for port in ports)


def _rules(pods: Pods, policies: Sequence[Object], direction: str) -> Iterator[tuple[Sequence[Json], set[str]]]:
    side = "from" if direction == "Ingress" else "to"
    for policy in policies:
        if _matches(policy.spec["podSelector"], pods.labels):
            for rule in policy.spec.get(direction.lower(), []):
                yield rule.get(side, []), {_port(port) for port in rule.get("ports", [{"port": "every port"}])}


def _matches(selector: Json, labels: Labels) -> bool:
    wanted: Labels = selector.get("matchLabels", {})
    expressions = selector.get("matchExpressions", [])
    return wanted.items() <= labels.items() and all(_holds(expression, labels) for expression in expressions)


def _holds(expression: Json, labels: Labels) -> bool:
    if expression["operator"] == "Exists":
        return expression["key"] in labels
    return expression["operator"] == "In" and labels.get(expression["key"]) in expression["values"]


def _denies_all(policy: Object, direction: str) -> bool:
    spec = policy.spec
    return spec["podSelector"] == {} and direction in spec["policyTypes"] and not spec.get(direction.lower())


def _block(block: Json) -> str:
    private = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"}
    outside_only = block["cidr"] == "0.0.0.0/0" and private <= set(block.get("except", []))
    return _INTERNET if outside_only else str(block["cidr"])


def _other_namespace(peer: Json) -> str:
    namespace = peer["namespaceSelector"].get("matchLabels", {}).get("kubernetes.io/metadata.name", "any namespace")
    pods = peer.get("podSelector", {}).get("matchLabels", {})
    return f"{namespace}/{'+'.join(pods.values()) or 'any pod'}"


def _port(port: Json) -> str:
    return f"{port['port']}-{port['endPort']}" if "endPort" in port else str(port["port"])


def _shown(flow: Flow) -> str:
    source, target, port = flow
    return f"{source} -> {target}:{port}"
