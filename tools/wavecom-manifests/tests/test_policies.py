"""The overlays break no rule, and every rule catches what breaks it."""

from collections.abc import Callable
from copy import deepcopy

import pytest
from wavecom_manifests import policies
from wavecom_manifests.objects import Json, Manifests, Object
from wavecom_manifests.policies.operated import pod_of

Change = Callable[[Manifests], None]


def test_the_committed_renders_break_no_rule(manifests: Manifests) -> None:
    assert [str(finding) for finding in policies.check(manifests)] == []


def _body(manifests: Manifests, kind: str, name: str) -> Json:
    found = manifests.find(kind, name)
    assert found is not None, f"there is no {kind} {name} to break"
    return found.body


def _pod(manifests: Manifests, name: str) -> Json:
    return _body(manifests, "Deployment", name)["spec"]["template"]["spec"]


def _app(manifests: Manifests, name: str = "dispatcher") -> Json:
    return _pod(manifests, name)["containers"][0]


def _variable(manifests: Manifests, process: str, name: str) -> Json:
    return next(one for one in _app(manifests, process)["env"] if one["name"] == name)


def _settings(manifests: Manifests) -> Json:
    return next(one.body["data"] for one in manifests.of("ConfigMap") if one.name.startswith("wavecom-settings"))


def _trigger(manifests: Manifests, name: str) -> Json:
    return _body(manifests, "ScaledObject", name)["spec"]["triggers"][0]["metadata"]


def _policy(manifests: Manifests, name: str) -> Json:
    return _body(manifests, "NetworkPolicy", name)["spec"]


def _rights(manifests: Manifests, user: str) -> Json:
    return _body(manifests, "Permission", user)["spec"]["permissions"]


def _keys(manifests: Manifests, user: str) -> Json:
    return _body(manifests, "TopicPermission", user)["spec"]["permissions"]


def _role(manifests: Manifests, name: str) -> Json:
    roles = _body(manifests, "MongoDBCommunity", "mongodb")["spec"]["security"]["roles"]
    return next(role for role in roles if role["role"] == name)


def _user(manifests: Manifests, name: str) -> Json:
    users = _body(manifests, "MongoDBCommunity", "mongodb")["spec"]["users"]
    return next(user for user in users if user["name"] == name)


def _operated_pod(manifests: Manifests) -> Json:
    return pod_of(Object(_body(manifests, "RabbitmqCluster", "rabbitmq")))


def _replica_set(manifests: Manifests) -> Json:
    return _body(manifests, "MongoDBCommunity", "mongodb")["spec"]["automationConfig"]["replicaSet"]["settings"]


def _broker_settings(manifests: Manifests, old: str, new: str) -> None:
    rabbitmq = _body(manifests, "RabbitmqCluster", "rabbitmq")["spec"]["rabbitmq"]
    assert old in rabbitmq["additionalConfig"]
    rabbitmq["additionalConfig"] = rabbitmq["additionalConfig"].replace(old, new)


def _annotations(manifests: Manifests) -> Json:
    return _body(manifests, "Ingress", "ingest-api")["metadata"]["annotations"]


def _rule(manifests: Manifests) -> Json:
    return _body(manifests, "PrometheusRule", "wavecom")["spec"]["groups"][0]["rules"][0]


def _without(kind: str, name: str) -> Change:
    def change(manifests: Manifests) -> None:
        objects = manifests.objects
        assert isinstance(objects, list)
        objects.remove(Object(_body(manifests, kind, name)))

    return change


# What is done to the manifests of production, and what has to be said about it.
VIOLATIONS: dict[str, tuple[Change, str]] = {
    # pods
    "no limits": (lambda m: _app(m)["resources"].pop("limits"), "has no limits for memory"),
    "no requests": (lambda m: _app(m)["resources"].pop("requests"), "has no requests for cpu"),
    "no readiness": (lambda m: _app(m).pop("readinessProbe"), "has no readinessProbe"),
    "writable root": (
        lambda m: _app(m)["securityContext"].pop("readOnlyRootFilesystem"),
        "may write to its root file system",
    ),
    "privileges": (lambda m: _app(m)["securityContext"].update(allowPrivilegeEscalation=True), "may gain privileges"),
    "capabilities": (lambda m: _app(m)["securityContext"].pop("capabilities"), "keeps capabilities"),
    "latest": (lambda m: _app(m).update(image="dispatcher:latest"), "not pinned"),
    "no tag": (lambda m: _app(m).update(image="registry:5000/dispatcher"), "not pinned"),
    "root": (lambda m: _pod(m, "dispatcher")["securityContext"].update(runAsUser=0), "may run as root"),
    "token": (lambda m: _pod(m, "dispatcher").pop("automountServiceAccountToken"), "mount the token"),
    "node's network": (lambda m: _pod(m, "dispatcher").update(hostNetwork=True), "share the node's network"),
    "no spread": (lambda m: _pod(m, "dispatcher").pop("topologySpreadConstraints"), "does not spread"),
    "no budget": (_without("PodDisruptionBudget", "sms-sender"), "has 0 disruption budgets"),
    "unrestricted namespace": (
        lambda m: _body(m, "Namespace", "wavecom")["metadata"]["labels"].pop("pod-security.kubernetes.io/enforce"),
        "lacks pod-security.kubernetes.io/enforce",
    ),
    # operated
    "broker refused by the namespace": (
        lambda m: _operated_pod(m)["securityContext"].pop("runAsNonRoot"),
        "RabbitmqCluster rabbitmq: its pods may run as root",
    ),
    "broker's first container forgotten": (
        lambda m: _operated_pod(m).pop("initContainers"),
        "RabbitmqCluster rabbitmq, container setup-container: may gain privileges",
    ),
    # failover
    "lost primary waited for": (
        lambda m: _body(m, "MongoDBCommunity", "mongodb")["spec"].pop("automationConfig"),
        "MongoDBCommunity mongodb: electionTimeoutMillis is 10000",
    ),
    "primary that is cut off asked": (
        lambda m: _replica_set(m).pop("catchUpTimeoutMillis"),
        "catchUpTimeoutMillis is not 0",
    ),
    "silent nodes wait for": (
        lambda m: _broker_settings(m, "net_ticktime = 10", "net_ticktime = 60"),
        "RabbitmqCluster rabbitmq: net_ticktime is 60",
    ),
    "net tick forgotten": (lambda m: _broker_settings(m, "net_ticktime = 10", ""), "net_ticktime is 60"),
    "silent nodes connected to": (
        lambda m: _body(m, "RabbitmqCluster", "rabbitmq")["spec"]["rabbitmq"].pop("envConfig"),
        'lacks "-kernel net_setuptime 2"',
    ),
    "one node leads all": (
        lambda m: _broker_settings(m, "queue_leader_locator = balanced", ""),
        "queue_leader_locator is client-local",
    ),
    # references
    "no account": (_without("ServiceAccount", "sms-sender"), "ServiceAccount sms-sender is missing"),
    "account with a token": (
        lambda m: _body(m, "ServiceAccount", "sms-sender").pop("automountServiceAccountToken"),
        "gives its token",
    ),
    # settings
    "unknown setting": (
        lambda m: _settings(m).update(WAVECOM_PREFETSCH="1"),
        "WAVECOM_PREFETSCH is no setting of this process",
    ),
    "another process's setting": (
        lambda m: _app(m)["env"].append({"name": "WAVECOM_GRPC_PORT", "value": "1"}),
        "WAVECOM_GRPC_PORT is no setting of this process",
    ),
    "impossible value": (lambda m: _settings(m).update(WAVECOM_LOG_LEVEL="loud"), "WAVECOM_LOG_LEVEL"),
    "no broker": (lambda m: _app(m)["env"].clear(), "WAVECOM_RABBITMQ_URL is not set"),
    "no deployment": (_without("Deployment", "push-sender"), "has no Deployment push-sender"),
    # ports
    "admin port moved": (lambda m: _settings(m).update(WAVECOM_ADMIN_PORT="8081"), "its settings say {'admin': 8081}"),
    "loopback": (lambda m: _settings(m).update(WAVECOM_ADMIN_HOST="127.0.0.1"), "not the pod's address"),
    "gRPC port moved": (
        lambda m: _variable(m, "status-query", "WAVECOM_GRPC_PORT").update(value="50052"),
        "'grpc': 50052",
    ),
    "probe of no port": (lambda m: _app(m)["readinessProbe"]["httpGet"].update(port="http"), "asks port http"),
    "probe of no path": (lambda m: _app(m)["readinessProbe"]["httpGet"].update(path="/ready"), "nobody answers"),
    "start that waits for the broker": (
        lambda m: _app(m, "ingest-api")["startupProbe"]["httpGet"].update(path="/health/ready"),
        "startupProbe asks for /health/ready, which fails while the broker is away",
    ),
    "service of no port": (
        lambda m: _body(m, "Service", "ingest-api")["spec"]["ports"][0].update(targetPort="web"),
        "has no port web",
    ),
    "one virtual address for gRPC": (
        lambda m: _body(m, "Service", "status-query")["spec"].pop("clusterIP"),
        "not headless",
    ),
    "target elsewhere": (
        lambda m: _variable(m, "ingest-api", "WAVECOM_STATUS_QUERY_TARGET").update(value="dns:///status:50051"),
        "not the DNS name of a service",
    ),
    "another broker": (
        lambda m: _variable(m, "dispatcher", "WAVECOM_RABBITMQ_URL").update(value="amqp://u:p@rabbit:5672/wavecom"),
        "there is no RabbitmqCluster rabbit",
    ),
    "another virtual host": (
        lambda m: _variable(m, "dispatcher", "WAVECOM_RABBITMQ_URL").update(value="amqp://u:p@rabbitmq:5672/other"),
        "there is no virtual host other",
    ),
    "monitor of no port": (
        lambda m: _body(m, "ServiceMonitor", "wavecom")["spec"]["endpoints"][0].update(port="web"),
        "has no port web",
    ),
    # edge
    "batches stopped before the API": (
        lambda m: _annotations(m).update({"nginx.org/client-max-body-size": "128k"}),
        "lets bodies of 131072 bytes through, the API those of 4194304",
    ),
    "answers not waited for": (
        lambda m: _annotations(m).update({"nginx.org/proxy-read-timeout": "15s"}),
        "gives up on an answer that may take 17 s",
    ),
    "host without a certificate": (
        lambda m: _body(m, "Ingress", "ingest-api")["spec"].pop("tls"),
        "without TLS",
    ),
    "requests that fill more than the pod": (
        lambda m: _app(m, "ingest-api")["resources"]["limits"].update(memory="256Mi"),
        "has 256Mi of memory, and needs",
    ),
    "host the API refuses": (
        lambda m: _variable(m, "ingest-api", "WAVECOM_ALLOWED_HOSTS").update(value="ingest-api.wavecom.svc"),
        "sends requests for notifications.example.com, which WAVECOM_ALLOWED_HOSTS of the API does not have",
    ),
    "Service the API refuses": (
        lambda m: _variable(m, "ingest-api", "WAVECOM_ALLOWED_HOSTS").update(value="notifications.example.com"),
        "sends requests for ingest-api, which WAVECOM_ALLOWED_HOSTS of the API does not have",
    ),
    # shutdown
    "killed in its drain": (
        lambda m: _pod(m, "email-sender").update(terminationGracePeriodSeconds=30),
        "is killed after 30 s, but takes up to 45 s",
    ),
    "drain shorter than a call": (
        lambda m: _variable(m, "sms-sender", "WAVECOM_DRAIN_TIMEOUT_S").update(value="20"),
        "cuts provider calls short",
    ),
    "no pause": (lambda m: _app(m, "ingest-api").pop("lifecycle"), "stops while callers may still choose it"),
    # autoscaling
    "queue that is not there": (
        lambda m: _trigger(m, "dispatcher").update(queueName="dispatcher.requests"),
        "watches [], but its process reads ['dispatcher.requested']",
    ),
    "dead letters scale": (
        lambda m: _trigger(m, "push-sender").update(queueName=r"^push-sender\.(high|medium|low)"),
        "push-sender.high.dead",
    ),
    "largest instead of sum": (lambda m: _trigger(m, "push-sender").update(operation="max"), "does not add"),
    "over AMQP": (lambda m: _trigger(m, "push-sender").update(protocol="amqp"), "protocol is 'amqp'"),
    "errors swallowed": (
        lambda m: _body(m, "ScaledObject", "sms-sender")["spec"].update(
            fallback={"failureThreshold": 3, "replicas": 2}
        ),
        "KEDA would not count the errors",
    ),
    "a rhythm that is not read": (
        lambda m: _body(m, "ScaledObject", "sms-sender")["spec"].update(pollingInterval=10),
        "says pollingInterval, which means nothing",
    ),
    "to zero without a cool-down": (
        lambda m: _body(m, "ScaledObject", "sms-sender")["spec"].update(minReplicaCount=0),
        "does not say its cooldownPeriod",
    ),
    "slow to scale": (lambda m: _trigger(m, "email-sender").update(value="9999"), "lets full messages wait"),
    "larger messages": (lambda m: _settings(m).update(WAVECOM_BATCH_MAX_EVENTS="1000"), "lets full messages wait"),
    "copies that hold everything": (
        lambda m: _variable(m, "sms-sender", "WAVECOM_PREFETCH").update(value="128"),
        "while the others still hold all there is (128 messages each)",
    ),
    "no scaler": (_without("ScaledObject", "sms-sender"), "has no scaler"),
    "fixed replicas": (
        lambda m: _body(m, "Deployment", "sms-sender")["spec"].update(replicas=3),
        "sets its replicas",
    ),
    # rights
    "may declare": (lambda m: _rights(m, "dispatcher").update(configure=".*"), "configure"),
    "may read more": (lambda m: _rights(m, "sms-sender").update(read=r"^.*-sender\..*$"), "for nothing"),
    "may not publish": (lambda m: _rights(m, "ingest-api").update(write="^$"), "lacks"),
    "not anchored": (lambda m: _rights(m, "dispatcher").update(read="dispatcher.requested"), "not anchored"),
    "may publish any event": (_without("TopicPermission", "push-sender"), "it may publish any event"),
    "may publish for another channel": (
        lambda m: _keys(m, "push-sender").update(write=r"^notification\.sent\.[a-z]+$"),
        "gives ['notification.sent.email'",
    ),
    "may not end what it refused": (
        lambda m: _keys(m, "ingest-api").update(write=r"^(notification\.requested|queue\.dispatcher\.requested)$"),
        "lacks ['notification.failed.email'",
    ),
    "keys of another exchange": (
        lambda m: _keys(m, "dispatcher").update(exchange="amq.topic"),
        "is about amq.topic, which is no topic exchange that its user may write to",
    ),
    "keys in another virtual host": (
        lambda m: _body(m, "TopicPermission", "dispatcher")["spec"].update(vhost="/"),
        "is not about the user, the virtual host",
    ),
    "may have any event waiting": (
        _without("TopicPermission", "sms-sender-retry-40s"),
        "has 0 topic permissions for wavecom.retry.40s instead of one",
    ),
    "may have another channel's event waiting": (
        lambda m: _keys(m, "sms-sender-retry-40s").update(write=r"^.*-sender\..*$"),
        "gives ['queue.email-sender.high'",
    ),
    "waits without rules": (
        lambda m: _rights(m, "operator").update(write=r"^(wavecom\..+|[a-z]+-sender\..+)$"),
        "write: gives ['wavecom.retry.3s', 'wavecom.retry.50ms', 'wavecom.retry.7s']",
    ),
    "other waits than the rules": (
        lambda m: _settings(m).update(WAVECOM_RETRY_BASE_DELAY_S="6"),
        "lacks ['wavecom.retry.12s'",
    ),
    "keys not anchored": (lambda m: _keys(m, "operator").update(write=r"^queue\..+"), "write is not anchored"),
    "may change events": (
        lambda m: _role(m, "projector")["privileges"][0]["actions"].append("update"),
        "user status-projector may",
    ),
    "may do anything": (
        lambda m: _user(m, "status-projector")["roles"].append({"name": "root", "db": "admin"}),
        "user status-projector may {'*': ['root']}",
    ),
    # flows
    "no default": (_without("NetworkPolicy", "default-deny"), "nothing denies ingress by default"),
    "flow too many": (
        lambda m: _policy(m, "to-mongodb")["podSelector"]["matchExpressions"][0]["values"].append("dispatcher"),
        "dispatcher -> mongodb:27017 is allowed by one side only",
    ),
    "flow missing": (_without("NetworkPolicy", "to-rabbitmq"), "ingest-api -> rabbitmq:5672 is not let through"),
    "anybody from outside": (
        lambda m: _policy(m, "ingest-api-from-ingress")["ingress"][0].pop("from"),
        "anywhere -> ingest-api:3000 is let through",
    ),
    "into our own networks": (
        lambda m: _policy(m, "sms-to-providers")["egress"][0]["to"][0]["ipBlock"].pop("except"),
        "sms-sender -> 0.0.0.0/0:443 is let through",
    ),
    # alerts
    "metric that is not there": (
        lambda m: _rule(m).update(expr="wavecom_notifications_lost_total > 0"),
        "asks for wavecom_notifications_lost_total",
    ),
    "another program's metric misspelt": (
        lambda m: _rule(m).update(expr="rabbitmq_detailed_queue_message_ready > 0"),
        "asks for rabbitmq_detailed_queue_message_ready",
    ),
    "no PromQL": (lambda m: _rule(m).update(expr="sum by (queue"), "is no PromQL"),
    "no runbook": (lambda m: _rule(m)["annotations"].pop("runbook_url"), "has no runbook"),
    "no severity": (lambda m: _rule(m).pop("labels"), "neither a page nor a ticket"),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_a_planted_violation_is_found(prod: Manifests, violation: str) -> None:
    change, expected = VIOLATIONS[violation]
    broken = deepcopy(prod)
    change(broken)
    found = [str(finding) for finding in policies.check(broken)]
    assert any(expected in finding for finding in found), found
