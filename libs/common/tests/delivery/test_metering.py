"""What is counted of a delivery, under which labels."""

import pytest
from prometheus_client import REGISTRY
from wavecom_common.delivery import metering
from wavecom_common.events import types
from wavecom_common.events.outcomes import Throttled
from wavecom_common.testing.builders import a_dispatch, a_request
from wavecom_proto.v1.events_pb2 import Event

NAMES = {
    types.SENT: "wavecom_notifications_sent_total",
    types.FAILED: "wavecom_notifications_failed_total",
    types.RETRY_SCHEDULED: "wavecom_notifications_retried_total",
    types.OUTCOME_UNKNOWN: "wavecom_deliveries_outcome_unknown_total",
}


def events() -> dict[str, Event]:
    event = a_dispatch(request=a_request(channel="letter", priority="low", now_ms=1_000))
    return {
        types.STARTED: types.started(event, provider="p", now_ms=9_000),
        types.SENT: types.sent(event, provider="p", provider_message_id="x", now_ms=9_000),
        types.FAILED: types.failed(event, error="why", reason="gone", now_ms=9_000),
        types.RETRY_SCHEDULED: types.retry_scheduled(event, error="why", delay_ms=5, now_ms=9_000),
        types.OUTCOME_UNKNOWN: types.outcome_unknown(event, action="fail", now_ms=9_000),
    }


def values() -> dict[str, float]:
    labels = {"channel": "letter", "priority": "low"}
    more = {types.FAILED: {"reason": "gone"}}
    return {
        event_type: REGISTRY.get_sample_value(name, labels | more.get(event_type, {})) or 0
        for event_type, name in NAMES.items()
    }


@pytest.mark.parametrize("event_type", list(events()))
def test_an_event_counts_as_what_it_is_and_as_nothing_else(event_type: str) -> None:
    before = values()
    metering.count_events([events()[event_type]] * 2)
    after = values()
    assert {name: after[name] - before[name] for name in NAMES} == {name: 2 * (name == event_type) for name in NAMES}


def test_the_time_from_acceptance_to_the_provider_s_yes_is_in_seconds() -> None:
    name, labels = "wavecom_post_to_sent_duration_seconds_sum", {"channel": "letter", "priority": "low"}
    before = REGISTRY.get_sample_value(name, labels) or 0
    metering.count_events([events()[types.SENT]])
    assert (REGISTRY.get_sample_value(name, labels) or 0) - before == 8.0


def test_a_call_is_measured_under_its_outcome() -> None:
    name, labels = "wavecom_provider_duration_seconds_sum", {"provider": "q", "outcome": "Throttled"}
    before = REGISTRY.get_sample_value(name, labels) or 0
    metering.count_call("q", Throttled("slow down", 1.0), 0.25)
    assert (REGISTRY.get_sample_value(name, labels) or 0) - before == 0.25
