"""The compose file runs every process, with settings that each has and ports that agree."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from wavecom_manifests.environment import Environment, load, problems
from wavecom_manifests.processes import PROCESSES
from wavecom_manifests.repository import ROOT

_DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")


@pytest.fixture(scope="module")
def services() -> Mapping[str, Any]:
    """As they are with no variable set."""
    text = (ROOT / "deploy/compose/compose.yaml").read_text()
    found: Mapping[str, Any] = yaml.safe_load(_DEFAULT.sub(r"\1", text))["services"]
    return found


def _environment(service: Mapping[str, Any]) -> Environment:
    return Environment({name: str(value) for name, value in service["environment"].items()}, frozenset())


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_gets_settings_it_has(services: Mapping[str, Any], name: str) -> None:
    assert problems(name, PROCESSES[name].settings, _environment(services[name])) == []


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_is_given_the_time_to_drain(services: Mapping[str, Any], name: str) -> None:
    settings = load(PROCESSES[name].settings, _environment(services[name]))
    grace_s = float(services[name]["stop_grace_period"].removesuffix("s"))
    assert grace_s >= settings.drain_timeout_s + 10
    assert settings.drain_timeout_s >= getattr(settings, "provider_timeout_s", 0)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_may_write_nothing_and_is_nobody_special(services: Mapping[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "mem_limit" in service


def test_every_image_is_pinned(services: Mapping[str, Any]) -> None:
    images = {service["image"] for service in services.values()}
    assert not [image for image in images if image.rpartition(":")[2] in ("", "latest") or ":" not in image]


def test_callers_find_the_query_service_where_it_listens(services: Mapping[str, Any]) -> None:
    api, query = services["ingest-api"]["environment"], services["status-query"]["environment"]
    assert api["WAVECOM_STATUS_QUERY_TARGET"] == f"dns:///status-query:{query['WAVECOM_GRPC_PORT']}"
    assert services["ingest-api"]["ports"] == [f"127.0.0.1:3000:{api['WAVECOM_HTTP_PORT']}"]
    scraped = yaml.safe_load((ROOT / "deploy/compose/prometheus.yaml").read_text())["scrape_configs"][0]
    assert {str(one["port"]) for one in scraped["dns_sd_configs"]} == {api["WAVECOM_ADMIN_PORT"]}
    assert set(scraped["dns_sd_configs"][0]["names"]) == set(PROCESSES)
