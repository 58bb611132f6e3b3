"""The settings, from the environment."""

import pytest
from ingest_api.settings import IngestSettings
from wavecom_common.kernel.errors import ConfigurationError
from wavecom_common.storage.indexes import LEDGER_DAYS


def test_without_any_setting_the_defaults_hold(monkeypatch):
    for name in ("HTTP_PORT", "MAX_ATTEMPTS", "CORS_ORIGINS", "ALLOWED_HOSTS", "STATUS_QUERY_TARGET"):
        monkeypatch.delenv(f"WAVECOM_{name}", raising=False)
    settings = IngestSettings.load()

    assert (settings.http_port, settings.max_attempts, settings.cors_origin_list) == (3000, 3, [])
    assert settings.allowed_host_list == ["localhost", "127.0.0.1", "[::1]", "127.0.0.1"]
    assert settings.status_query_target == "dns:///127.0.0.1:50051"


def test_a_key_is_not_kept_for_longer_than_the_ledger_remembers(monkeypatch):
    monkeypatch.setenv("WAVECOM_IDEMPOTENCY_KEY_HOURS", str(13 * 24))
    assert IngestSettings.load().idempotency_key_hours == (LEDGER_DAYS - 1) * 24

    monkeypatch.setenv("WAVECOM_IDEMPOTENCY_KEY_HOURS", str(13 * 24 + 1))
    with pytest.raises(ConfigurationError, match=r"WAVECOM_IDEMPOTENCY_KEY_HOURS: .* less than or equal to 312"):
        IngestSettings.load()


def test_origins_are_separated_by_commas(monkeypatch):
    monkeypatch.setenv("WAVECOM_CORS_ORIGINS", "https://a.example, https://b.example,")

    assert IngestSettings.load().cors_origin_list == ["https://a.example", "https://b.example"]


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("0.0.0.0", ["api.example.com"]),
        ("::", ["api.example.com"]),
        ("192.0.2.7", ["api.example.com", "192.0.2.7"]),
        ("2001:db8::7", ["api.example.com", "[2001:db8::7]"]),
        ("internal", ["api.example.com", "internal"]),
    ],
)
def test_the_address_listened_on_is_a_host(monkeypatch, address, hosts):
    monkeypatch.setenv("WAVECOM_HTTP_HOST", address)
    monkeypatch.setenv("WAVECOM_ALLOWED_HOSTS", "api.example.com")

    assert IngestSettings.load().allowed_host_list == hosts


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PORT", "http"),
        ("MAX_ATTEMPTS", "11"),
        ("MAX_ATTEMPTS", "0"),
        ("ACCEPT_TIMEOUT_S", "0"),
        ("TENANT", "a b"),
        ("ALLOWED_HOSTS", "https://api.example.com"),
        ("ALLOWED_HOSTS", "api.example.com:443"),
        ("ALLOWED_HOSTS", "api.*.com"),
        ("CORS_ORIGINS", "www.example.com"),
        ("CORS_ORIGINS", "https://www.example.com/"),
        ("CORS_ORIGINS", "https://*.example.com"),
        ("IDEMPOTENCY_KEY_HOURS", "0"),
        ("REFER_ABOVE_BYTES", "131073"),
        ("BACKLOG_CRITICAL", "4999"),
        ("BACKLOG_EMERGENCY", "19999"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch, name, value):
    monkeypatch.setenv(f"WAVECOM_{name}", value)

    with pytest.raises(ConfigurationError, match=f"^WAVECOM_{name}: "):
        IngestSettings.load()
