"""Who decides what is traced; and tracing ends when the process does."""

import threading
from collections.abc import Sequence

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import SpanContext, TraceFlags, Tracer, TraceState
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


def public(sampler: Sampler) -> Tracer:
    return TracerProvider(sampler=tracing.OwnDecision(sampler)).get_tracer("test")


def caller(*, sampled: bool, trace_id: int = 7) -> Context:
    state = TraceState([("vendor", "x")])
    context = SpanContext(trace_id, 1, is_remote=True, trace_flags=TraceFlags(int(sampled)), trace_state=state)
    return trace.set_span_in_context(trace.NonRecordingSpan(context), Context())


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize(
    ("own", "recorded"),
    [(ALWAYS_ON, True), (ALWAYS_OFF, False), (ParentBased(ALWAYS_ON), True), (ParentBased(ALWAYS_OFF), False)],
)
def test_a_caller_has_no_say_in_what_is_sampled_and_keeps_its_trace_id(
    own: Sampler, recorded: bool, sampled: bool
) -> None:
    span = public(own).start_span("x", caller(sampled=sampled))

    assert span.get_span_context().trace_id == 7
    assert span.is_recording() == recorded
    assert not span.get_span_context().trace_state


def test_a_trace_id_made_to_be_sampled_is_sampled_as_seldom_as_any_other() -> None:
    tracer = public(ParentBased(TraceIdRatioBased(0.1)))
    # The lowest ids are those that the ratio's sampler always takes.
    spans = [tracer.start_span("x", caller(sampled=True, trace_id=1)) for _ in range(2_000)]
    assert 100 < sum(span.is_recording() for span in spans) < 300


def test_below_a_span_of_the_process_nothing_is_decided_anew() -> None:
    tracer = public(ParentBased(TraceIdRatioBased(0.5)))
    for _ in range(50):
        parent = tracer.start_span("parent", caller(sampled=True))
        child = tracer.start_span("child", trace.set_span_in_context(parent, Context()))
        assert child.is_recording() == parent.is_recording()


@pytest.mark.parametrize(("is_public", "recorded"), [(True, False), (False, True)])
def test_a_process_that_strangers_ask_decides_for_itself_and_the_others_follow(
    monkeypatch: pytest.MonkeyPatch, is_public: bool, recorded: bool
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    monkeypatch.setattr(tracing, "_exporter", Stubborn)
    monkeypatch.setattr(trace, "set_tracer_provider", lambda _: None)
    monkeypatch.setattr(tracing, "FLUSH_S", 0.05)

    provider = tracing.setup("test", public=is_public)

    assert provider is not None
    assert provider.get_tracer("test").start_span("x", caller(sampled=True)).is_recording() == recorded
    provider.shutdown()
