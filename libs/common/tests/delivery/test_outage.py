"""What is counted, logged and waited while a provider cannot be reached."""

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from wavecom_common.delivery import outage
from wavecom_common.delivery.outage import Outage
from wavecom_common.delivery.port import NotReady


def unavailable() -> float | None:
    return REGISTRY.get_sample_value("wavecom_provider_unavailable", {"provider": "p"})


def failures(cause: str) -> float:
    labels = {"provider": "p", "cause": cause}
    return REGISTRY.get_sample_value("wavecom_provider_connection_failures_total", labels) or 0


def test_a_provider_is_taken_for_reachable_until_it_is_not() -> None:
    Outage("p").failed(NotReady("dns"))
    assert unavailable() == 1
    new = Outage("p")
    assert (new.cause, unavailable()) == (None, 0)


def test_each_failure_is_counted_and_only_news_is_logged() -> None:
    state = Outage("p")
    before = failures("refused"), failures("dns")
    with capture_logs() as logged:
        for cause in ("refused", "refused", "dns"):
            state.failed(NotReady(cause, "detail"))
    assert (failures("refused"), failures("dns")) == (before[0] + 2, before[1] + 1)
    assert [(line["event"], line["cause"]) for line in logged] == [
        ("provider_unavailable", "refused"),
        ("provider_unavailable", "dns"),
    ]
    assert (state.cause, unavailable()) == ("dns", 1)


def test_the_end_is_logged_once_with_the_time_since_the_first_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    state = Outage("p")
    now_s = [100.0]
    monkeypatch.setattr(outage, "monotonic", lambda: now_s[0])
    with capture_logs() as logged:
        state.over()
        state.failed(NotReady("refused"))
        now_s[0] = 103.0
        state.failed(NotReady("refused"))
        now_s[0] = 107.26
        state.over()
        state.over()
    assert [line["event"] for line in logged] == ["provider_unavailable", "provider_unavailable_over"]
    assert logged[1]["after_s"] == 7.3
    assert (state.cause, unavailable()) == (None, 0)


def test_the_pauses_grow_to_five_seconds_and_are_short_again_after_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _, longest_s: longest_s)
    state = Outage("p")
    assert [state.pause_s() for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    # Not while it was not away.
    state.over()
    assert state.pause_s() == 5.0
    state.failed(NotReady("refused"))
    state.over()
    assert state.pause_s() == 0.1


def test_what_is_not_ready_names_its_cause_and_a_detail_where_there_is_one() -> None:
    assert str(NotReady("tls")) == "no connection to the provider: tls"
    assert str(NotReady("broken", "KeyError")) == "no connection to the provider: broken KeyError"
    assert NotReady("tls", "x").cause == "tls"
