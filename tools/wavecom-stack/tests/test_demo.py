"""The pure parts of the demo."""

from collections import Counter
from typing import Any

from wavecom_common.channels.registry import declared
from wavecom_common.events.channels import CHANNELS, PRIORITIES
from wavecom_stack.demo.load import mixed_load
from wavecom_stack.demo.report import details
from wavecom_stack.demo.results import most_telling, percentile, summarise
from wavecom_stack.demo.run import LOCAL_PROVIDERS, demo_environment


def notification(**fields: Any) -> dict[str, Any]:
    return {
        "channel": "sms",
        "status": "sent",
        "attempts": 1,
        "createdAt": "2026-01-01T00:00:00.000Z",
        "sentAt": "2026-01-01T00:00:01.500Z",
    } | fields


def test_the_load_covers_all_channels_evenly_and_all_priorities() -> None:
    load = mixed_load(100 * len(CHANNELS), seed=1)
    assert Counter(body["channel"] for body in load) == dict.fromkeys(CHANNELS, 100)
    assert {body["priority"] for body in load} == set(PRIORITIES)
    for body in load:
        declared()[body["channel"]].request.model_validate(body)
    assert all(("subject" in body) == declared()[body["channel"]].has_subject for body in load)


def test_the_same_seed_gives_the_same_load() -> None:
    assert mixed_load(30, seed=7) == mixed_load(30, seed=7) != mixed_load(30, seed=8)


def test_results_count_one_channel() -> None:
    result = summarise(
        "sms",
        [
            notification(),
            notification(attempts=3, status="failed", sentAt=None),
            notification(status="queued", sentAt=None),
            notification(channel="push"),
        ],
    )
    assert (result.accepted, result.sent, result.failed, result.open, result.attempts) == (3, 1, 1, 1, 5)
    assert (result.p50_s, result.p95_s) == (1.5, 1.5)


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(value) for value in range(1, 101)]
    assert (percentile(values, 50), percentile(values, 95), percentile([], 50)) == (50.0, 95.0, None)


def test_a_notification_sent_after_a_retry_tells_most() -> None:
    retried = notification(attempts=2)
    assert most_telling([notification(), retried, notification(attempts=3, status="failed")]) is retried


def test_without_a_retried_one_that_was_sent_the_most_tried_tells_most() -> None:
    failed = notification(attempts=3, status="failed")
    assert most_telling([notification(), failed]) is failed


def test_event_details_leave_out_what_other_columns_show() -> None:
    event = {"id": "x", "type": "T", "attempt": 1, "occurredAt": "now", "error": "down", "providerMessageId": None}
    assert details(event) == "error: down"


def test_the_demo_takes_addresses_and_telemetry_from_outside_but_no_other_setting() -> None:
    given = {
        "WAVECOM_RABBITMQ_URL": "amqp://mine",
        "WAVECOM_SIMULATED_SUCCESS_RATE": "0",
        "OTEL_SERVICE_NAME": "x",
        "PATH": "/bin",
    }
    environment = demo_environment(given, http_port=1, grpc_port=2, provider_ports={})
    assert "WAVECOM_SIMULATED_SUCCESS_RATE" not in environment
    assert {"WAVECOM_RABBITMQ_URL", "OTEL_SERVICE_NAME", "PATH"} < set(environment)


def test_a_local_provider_is_where_its_sender_looks_for_it() -> None:
    channel, provider = next(iter(LOCAL_PROVIDERS.items()))
    environment = demo_environment({}, http_port=1, grpc_port=2, provider_ports={channel: 12_345})
    assert set(provider.environment) < set(environment)
    assert "12345" in {environment[name] for name in provider.environment}
