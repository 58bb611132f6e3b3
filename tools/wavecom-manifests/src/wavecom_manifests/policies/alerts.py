"""Alerts and dashboards ask for metrics that exist, and every alert says what to do."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

import promql_parser
from prometheus_client.metrics import MetricWrapperBase
from wavecom_common.telemetry import metrics

from wavecom_manifests.objects import Finding, Json, Manifests
from wavecom_manifests.repository import RUNBOOKS

_NAMES: Final = re.compile(r"\b(?:wavecom|rabbitmq|kube|kubelet|keda|mongodb)_\w+")
# Other programs' metrics, spelt as they spell them. RabbitMQ's were seen in a Prometheus that scraped 3.10; those of
# kube-state-metrics, the kubelet and KEDA are taken from their documents.
_OF_OTHERS: Final = frozenset(
    {
        "rabbitmq_alarms_free_disk_space_watermark",
        "rabbitmq_alarms_memory_used_watermark",
        "rabbitmq_detailed_queue_consumers",
        "rabbitmq_detailed_queue_messages",
        "rabbitmq_detailed_queue_messages_ready",
        "kube_deployment_spec_replicas",
        "kube_deployment_status_replicas_available",
        "kube_deployment_status_replicas_unavailable",
        "kube_horizontalpodautoscaler_spec_max_replicas",
        "kube_horizontalpodautoscaler_status_desired_replicas",
        "kube_pod_container_status_restarts_total",
        "kube_statefulset_replicas",
        "kube_statefulset_status_replicas_ready",
        "kubelet_volume_stats_available_bytes",
        "kubelet_volume_stats_capacity_bytes",
        "kubelet_volume_stats_used_bytes",
        "keda_scaler_detail_errors_total",
    }
)
_DASHBOARD: Final = "grafana_dashboard"
_SUFFIXES: Final = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}


def check(manifests: Manifests) -> Sequence[Finding]:
    """Every rule and every panel."""
    found: list[Finding] = []
    for rules in manifests.of("PrometheusRule"):
        for group in rules.spec["groups"]:
            for rule in group["rules"]:
                found += _alert(f"{rules.where}, {rule['alert']}", rule)
    for config in manifests.of("ConfigMap"):
        if _DASHBOARD in config.labels:
            for name, text in config.body["data"].items():
                found += _dashboard(f"{config.where}, {name}", json.loads(text))
    return found


def exported_metrics() -> frozenset[str]:
    """The names under which Prometheus finds the metrics the code records."""
    families = [
        family
        for instrument in vars(metrics).values()
        if isinstance(instrument, MetricWrapperBase)
        for family in instrument.describe()
    ]
    return frozenset(family.name + suffix for family in families for suffix in _SUFFIXES[family.type])


def _alert(where: str, rule: Json) -> Iterator[Finding]:
    yield from _query(where, rule["expr"])
    annotations = rule.get("annotations", {})
    yield from (Finding(where, f"has no {name}") for name in ("summary", "description") if not annotations.get(name))
    runbook = PurePosixPath(urlsplit(annotations.get("runbook_url", "")).path)
    if runbook.name != f"{rule['alert']}.md" or not (RUNBOOKS / "alerts" / runbook.name).is_file():
        yield Finding(where, "has no runbook docs/runbooks/alerts/<its name>.md")
    if rule.get("labels", {}).get("severity") not in {"page", "ticket"}:
        yield Finding(where, "is neither a page nor a ticket")


def _dashboard(where: str, dashboard: Json) -> Iterator[Finding]:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield from _query(f"{where}, {panel['title']}", target["expr"])


def _query(where: str, query: str) -> Iterator[Finding]:
    try:
        promql_parser.parse(query)
    except ValueError as error:
        yield Finding(where, f"is no PromQL: {error}")
    for name in sorted(set(_NAMES.findall(query)) - exported_metrics() - _OF_OTHERS):
        yield Finding(where, f"asks for {name}, which nobody is known to record")
