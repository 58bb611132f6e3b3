"""Tracing ends when the process does."""

import threading
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from wavecom_common.telemetry import tracing


class Stubborn(SpanExporter):
    """Goes on trying until it is told to stop."""

    def __init__(self) -> None:
        self.told = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.told.wait()
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.told.set()


@pytest.mark.timeout(15)
def test_a_receiver_that_never_answers_does_not_keep_the_process_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "FLUSH_S", 0.05)
    exporter = Stubborn()
    provider = TracerProvider()
    provider.add_span_processor(tracing.BoundedProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span("a span"):
        pass
    provider.shutdown()
    assert exporter.told.is_set()
