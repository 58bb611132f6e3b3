"""The server span of a POST."""

import httpx
import pytest
from ingest_api.routes import NOTIFICATIONS
from ingest_api.tracing import ServerSpan
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind, StatusCode
from wavecom_common.kernel.errors import Unavailable

BODY = {"recipient": "+2348012345678", "message": "Hello", "channel": "sms"}
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def traced_post(app, make_client):
    """One POST under a sampler: its answer and the spans it left."""

    async def post(sampler, headers=None, **more) -> tuple[httpx.Response, list[trace.Span]]:
        exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        spanned = ServerSpan(app, route=NOTIFICATIONS, tracer=provider.get_tracer("test"))
        async with make_client(spanned) as client:
            answer = await client.post(NOTIFICATIONS, json=BODY | more, headers=headers)
        provider.shutdown()
        return answer, list(exporter.get_finished_spans())

    return post


async def test_a_sampled_post_is_a_server_span_and_the_cause_of_its_event(traced_post, pipeline):
    answer, [span] = await traced_post(ParentBased(ALWAYS_ON))

    assert answer.status_code == 201
    assert (span.name, span.kind) == ("POST /api/notifications", SpanKind.SERVER)
    assert span.attributes["http.response.status_code"] == 201
    assert span.attributes["http.route"] == NOTIFICATIONS
    [event] = pipeline.events
    version, trace_id, span_id, flags = event.traceparent.split("-")
    assert (version, trace_id, span_id) == ("00", f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")
    assert int(flags, 16) & 1


async def test_the_span_continues_the_clients_trace(traced_post, pipeline):
    headers = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01", "tracestate": "vendor=1"}

    _, [span] = await traced_post(ParentBased(ALWAYS_OFF), headers)

    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert pipeline.events[0].traceparent.split("-")[1] == TRACE_ID
    assert pipeline.events[0].tracestate == "vendor=1"


@pytest.mark.parametrize("headers", [None, {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-00"}, {"traceparent": "x"}])
async def test_a_post_that_is_not_sampled_leaves_no_trace(traced_post, pipeline, headers):
    answer, spans = await traced_post(ParentBased(ALWAYS_OFF), headers)

    assert answer.status_code == 201
    assert spans == []
    assert pipeline.events[0].traceparent == ""


async def test_a_failure_of_ours_marks_the_span_and_a_clients_does_not(traced_post, pipeline):
    pipeline.failure = Unavailable("x")
    _, [failed] = await traced_post(ALWAYS_ON)
    _, [refused] = await traced_post(ALWAYS_ON, subject="x")

    assert (failed.status.status_code, failed.attributes["error.type"]) == (StatusCode.ERROR, "503")
    assert refused.status.status_code is StatusCode.UNSET
    assert refused.attributes["http.response.status_code"] == 400


async def test_no_span_tells_a_recipient(traced_post):
    _, [span] = await traced_post(ALWAYS_ON)

    assert "2348012345678" not in span.to_json()


async def test_an_app_that_traces_answers_as_one_that_does_not(make_app, make_client):
    async with make_client(make_app(traced=True)) as client:
        assert (await client.post(NOTIFICATIONS, json=BODY)).status_code == 201
        assert (await client.get(NOTIFICATIONS)).status_code == 200
        assert (await client.delete(NOTIFICATIONS)).headers["allow"] == "GET, POST"
