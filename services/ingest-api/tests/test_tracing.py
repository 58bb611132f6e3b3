"""The server span of a request."""

import httpx
import pytest
from ingest_api.routes import BATCH, NOTIFICATIONS
from ingest_api.tracing import ServerSpans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind, StatusCode
from wavecom_common.kernel.errors import Unavailable
from wavecom_common.telemetry.tracing import OwnDecision

BODY = {"recipient": "+2348012345678", "message": "Hello", "channel": "sms"}
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


@pytest.fixture
def traced(make_app, make_client, monkeypatch):
    """One request under a sampler: its answer and the spans it left."""

    async def ask(sampler, method="POST", path=NOTIFICATIONS, **more) -> tuple[httpx.Response, list]:
        exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=OwnDecision(sampler))
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        app = make_app(traced=True)
        assert isinstance(app, ServerSpans)
        monkeypatch.setattr(app, "_tracer", provider.get_tracer("test"))
        async with make_client(app) as client:
            answer = await client.request(method, path, **more)
        provider.shutdown()
        return answer, list(exporter.get_finished_spans())

    return ask


async def test_a_sampled_post_is_a_server_span_and_the_cause_of_its_event(traced, pipeline):
    answer, [span] = await traced(ParentBased(ALWAYS_ON), json=BODY)

    assert answer.status_code == 201
    assert (span.name, span.kind) == ("POST /api/notifications", SpanKind.SERVER)
    assert dict(span.attributes) == {
        "http.request.method": "POST",
        "http.response.status_code": 201,
        "http.route": NOTIFICATIONS,
        "url.scheme": "http",
    }
    [event] = pipeline.events
    version, trace_id, span_id, flags = event.traceparent.split("-")
    assert (version, trace_id, span_id) == ("00", f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")
    assert int(flags, 16) & 1


async def test_the_span_continues_the_clients_trace_without_its_tracestate(traced, pipeline):
    headers = {"traceparent": SAMPLED.replace("-01", "-00"), "tracestate": "vendor=" + "x" * 8_000}

    _, [span] = await traced(ParentBased(ALWAYS_ON), json=BODY, headers=headers)

    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert not span.context.trace_state
    assert pipeline.events[0].traceparent.split("-")[1] == TRACE_ID
    assert pipeline.events[0].tracestate == ""


@pytest.mark.parametrize("headers", [None, {"traceparent": SAMPLED}, {"traceparent": "x"}])
async def test_a_post_that_we_do_not_sample_leaves_no_trace_whatever_its_caller_wants(traced, pipeline, headers):
    answer, spans = await traced(ParentBased(ALWAYS_OFF), json=BODY, headers=headers)

    assert answer.status_code == 201
    assert spans == []
    assert pipeline.events[0].traceparent == ""


async def test_a_failure_of_ours_marks_the_span_and_a_clients_does_not(traced, pipeline):
    pipeline.failure = Unavailable("x")
    _, [failed] = await traced(ALWAYS_ON, json=BODY)
    _, [refused] = await traced(ALWAYS_ON, json=BODY | {"subject": "x"})

    assert (failed.status.status_code, failed.attributes["error.type"]) == (StatusCode.ERROR, "503")
    assert refused.status.status_code is StatusCode.UNSET
    assert refused.attributes["http.response.status_code"] == 400


@pytest.mark.parametrize(
    ("method", "path", "name", "status"),
    [
        ("POST", BATCH, "POST /api/notifications/batch", 400),
        ("GET", NOTIFICATIONS, "GET /api/notifications", 200),
        ("GET", f"{NOTIFICATIONS}/secret", "GET /api/notifications/{id}", 404),
        ("GET", f"{NOTIFICATIONS}/secret/events", "GET /api/notifications/{id}/events", 404),
        ("DELETE", f"{NOTIFICATIONS}/secret", "DELETE /api/notifications/{id}", 405),
        ("GET", "/health", "GET /health", 200),
        ("GET", "/openapi.json", "GET /openapi.json", 200),
        ("GET", "/secret", "GET", 404),
        ("SECRET", NOTIFICATIONS, "HTTP /api/notifications", 405),
        ("SECRET", "/secret", "HTTP", 404),
    ],
)
async def test_a_span_is_named_by_the_route_and_holds_nothing_the_client_sent(traced, method, path, name, status):
    secret = {"user-agent": "secret", "x-forwarded-for": "secret", "tracestate": "secret=1"}

    answer, [span] = await traced(ALWAYS_ON, method, path, params={"secret": "secret"}, headers=secret)

    assert answer.status_code == status
    assert span.name == name
    assert span.attributes.get("http.route") == (name.split(" ")[1] if " " in name else None)
    assert "secret" not in span.to_json().lower()


@pytest.mark.parametrize(("header", "status"), [({"host": "secret"}, 421), ({"origin": "http://secret"}, 403)])
async def test_a_request_that_is_refused_before_its_route_has_a_span_as_well(traced, header, status):
    answer, [span] = await traced(ALWAYS_ON, "GET", f"{NOTIFICATIONS}/secret", headers=header)

    assert (answer.status_code, span.attributes["http.response.status_code"]) == (status, status)
    assert span.name == "GET"
    assert "secret" not in span.to_json().lower()


async def test_an_app_that_traces_answers_as_one_that_does_not(make_app, make_client):
    async with make_client(make_app(traced=True)) as client:
        assert (await client.post(NOTIFICATIONS, json=BODY)).status_code == 201
        assert (await client.get(NOTIFICATIONS)).status_code == 200
        assert (await client.delete(NOTIFICATIONS)).headers["allow"] == "GET, POST"
