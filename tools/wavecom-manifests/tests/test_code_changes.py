"""A change in the code that the manifests do not follow is found."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from dispatcher.settings import DispatcherSettings
from pydantic import Field
from wavecom_common.events import routing
from wavecom_common.hosting.settings import Settings
from wavecom_manifests import policies, processes
from wavecom_manifests.objects import Manifests
from wavecom_manifests.processes import PROCESSES, Process


def _changed(monkeypatch: pytest.MonkeyPatch, name: str, process: Process) -> None:
    changed: Mapping[str, Process] = {**PROCESSES, name: process}
    for module in (processes, *policies.ALL):
        if hasattr(module, "PROCESSES"):
            monkeypatch.setattr(module, "PROCESSES", changed)


def _findings(manifests: Manifests) -> str:
    return "\n".join(str(finding) for finding in policies.check(manifests))


def test_a_renamed_queue_is_found(prod: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "DISPATCHER_QUEUE", "dispatcher.incoming")
    assert "ScaledObject dispatcher: watches []" in _findings(prod)


def test_a_new_scheme_of_queue_names_is_found(prod: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "sender_queue", lambda channel, priority: f"{channel}.{priority}")
    assert "ScaledObject email-sender: watches []" in _findings(prod)


def test_a_renamed_exchange_is_found(prod: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = replace(PROCESSES["ingest-api"], publishes_to=["wavecom.facts"])
    monkeypatch.setattr(routing, "EVENTS_EXCHANGE", "wavecom.facts")
    _changed(monkeypatch, "ingest-api", changed)
    assert "Permission ingest-api: write: lacks ['wavecom.facts']" in _findings(prod)


def test_a_queue_more_to_look_for_is_found(prod: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    asks_for = [*PROCESSES["sms-sender"].asks_for, routing.DISPATCHER_QUEUE]
    _changed(monkeypatch, "sms-sender", replace(PROCESSES["sms-sender"], asks_for=asks_for))
    assert "Permission sms-sender: write: lacks ['dispatcher.requested']" in _findings(prod)


def test_a_renamed_setting_is_found(prod: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    class Renamed(Settings):
        """As the common ones, but for one name."""

        model_config = Settings.model_config

    fields = {name: field for name, field in Settings.model_fields.items() if name != "drain_timeout_s"}
    monkeypatch.setattr(Renamed, "__pydantic_fields__", fields)
    _changed(monkeypatch, "dispatcher", replace(PROCESSES["dispatcher"], settings=Renamed))
    assert "WAVECOM_DRAIN_TIMEOUT_S is no setting of this process" in _findings(prod)


def test_a_narrower_limit_of_a_setting_is_found(prod: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    class Narrower(DispatcherSettings):
        """As the dispatcher's, but for one limit."""

        drain_timeout_s: float = Field(10.0, ge=0, le=15)

    _changed(monkeypatch, "dispatcher", replace(PROCESSES["dispatcher"], settings=Narrower))
    assert "WAVECOM_DRAIN_TIMEOUT_S: Input should be less than or equal to 15" in _findings(prod)


def test_another_admin_path_is_found(prod: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    from wavecom_manifests.policies import ports

    monkeypatch.setattr(ports, "_ADMIN_PATHS", frozenset({"/live", "/ready"}))
    assert "livenessProbe asks for /health/live, which nobody answers" in _findings(prod)


def test_a_process_more_is_found(prod: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    _changed(monkeypatch, "fax-sender", PROCESSES["sms-sender"])
    assert "the overlay: has no Deployment fax-sender" in _findings(prod)


def test_another_use_of_a_collection_is_found(prod: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = replace(PROCESSES["sms-sender"], collections={"claims": frozenset({"insert"})})
    _changed(monkeypatch, "sms-sender", changed)
    assert "user sms-sender may" in _findings(prod)
