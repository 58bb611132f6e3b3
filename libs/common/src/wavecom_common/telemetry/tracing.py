"""Whether and how this process traces. Configured by the standard OTEL_* variables; off when no endpoint is named.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import os
from collections.abc import Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from wavecom_common.kernel.errors import ConfigurationError

# A receiver that does not answer must not keep a process from ending: what it has not taken by then is dropped.
FLUSH_S: Final = 5.0
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class BoundedProcessor(BatchSpanProcessor):
    """The SDK's, which at the end tries for 30 s to get rid of what it has: this one for `FLUSH_S`."""

    def shutdown(self) -> None:
        """Export what is left, in the time there is."""
        # Its own `shutdown` takes no time to pass on.
        self._batch_processor.shutdown(timeout_millis=round(FLUSH_S * 1000))


class OwnDecision(Sampler):
    """Decides about a caller's trace as about one that begins here.

    The caller's `sampled` flag, `tracestate` and trace id have no say: with any of them, whoever asks could have all
    that it does recorded. The trace id stays, so a client finds its trace where that was chosen. Below a span of this
    process nothing is decided anew.
    """

    def __init__(self, own: Sampler) -> None:
        self._own = own
        self._ids = RandomIdGenerator()

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """As the configured sampler decides about a trace without a parent; see the class."""
        if trace.get_current_span(parent_context).get_span_context().is_remote:
            parent_context, trace_id, trace_state = Context(), self._ids.generate_trace_id(), None
        return self._own.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """For the SDK's diagnostics."""
        return f"OwnDecision{{{self._own.get_description()}}}"


def wanted() -> bool:
    """Whether the environment names a place to send spans to."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(os.environ.get(name) for name in _ENDPOINTS)


def setup(service: str, *, public: bool = False) -> TracerProvider | None:
    """Start tracing for this process, if wanted. The caller shuts the provider down, which flushes it for some seconds.

    The sampler is the SDK's: OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG, by default parent-based always on. A
    `public` process is asked by strangers, and decides for itself; the others follow what its events and calls carry.

    Raises:
        ConfigurationError: OTEL_EXPORTER_OTLP_PROTOCOL is neither grpc nor http/protobuf.
    """
    if not wanted():
        return None
    name = os.environ.get("OTEL_SERVICE_NAME", service)
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name, "service.namespace": "wavecom"}))
    if public:
        provider.sampler = OwnDecision(provider.sampler)
    provider.add_span_processor(BoundedProcessor(_exporter()))
    trace.set_tracer_provider(provider)
    return provider


def _exporter() -> SpanExporter:
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"
    )
    # Imported late: each exporter costs memory and start-up time that a process without tracing should not pay.
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter()
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

        return HttpExporter()
    raise ConfigurationError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; use grpc or http/protobuf")
