"""One span per request, inside the caller's trace."""

import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from rerank_server.observability.request_record import RequestRecord
from rerank_server.observability.tracing import Tracing, open_tracing

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
BEGAN = 1000.0  # seconds since 1970


def record(**fields: Any) -> RequestRecord:
    defaults: dict[str, Any] = {
        "request_id": "r-1",
        "method": "POST",
        "route": "/rerank",
        "status": 200,
        "pairs": 10,
        "tokens": 700,
        "began_at": BEGAN,
        "tokenize_seconds": 0.25,
        "queue_seconds": 0.5,
        "forward_seconds": 1.0,
        "total_seconds": 2.0,
    }
    return RequestRecord(**defaults | fields)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Any:
    tracing = open_tracing("http://collector:4318", processor=SimpleSpanProcessor(exporter))
    yield tracing
    tracing.close()


def test_a_request_is_a_span_that_says_what_it_was(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    tracing.finish(record(), tracing.begin({}, BEGAN))

    span = exporter.get_finished_spans()[-1]
    assert (span.name, span.kind, span.parent) == ("POST /rerank", SpanKind.SERVER, None)
    assert span.attributes == {
        "http.request.method": "POST",
        "http.route": "/rerank",
        "http.response.status_code": 200,
        "rerank.request_id": "r-1",
        "rerank.pairs": 10,
        "rerank.tokens": 700,
    }
    assert (span.start_time, span.end_time) == (BEGAN * 10**9, (BEGAN + 2) * 10**9)
    assert span.resource.attributes["service.name"] == "rerank"


def test_the_parts_of_scoring_lie_one_after_the_other_inside(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    tracing.finish(record(), tracing.begin({}, BEGAN))

    *parts, request = exporter.get_finished_spans()
    assert [(part.name, part.start_time / 1e9 - BEGAN, part.end_time / 1e9 - BEGAN) for part in parts] == [
        ("tokenize", 0.0, 0.25),
        ("queue", 0.25, 0.75),
        ("forward", 0.75, 1.75),
    ]
    assert all(part.parent.span_id == request.context.span_id for part in parts)


def test_what_a_request_never_came_to_is_no_part_of_it(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    refused = record(status=429, error="overloaded", tokenize_seconds=0, queue_seconds=0, forward_seconds=0)
    tracing.finish(refused, tracing.begin({}, BEGAN))

    (span,) = exporter.get_finished_spans()
    assert span.attributes["rerank.error"] == "overloaded"
    assert span.status.status_code is StatusCode.UNSET  # the caller's turn


def test_a_page_has_no_pairs(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    tracing.finish(record(method="GET", route="/info"), tracing.begin({}, BEGAN))

    (span,) = exporter.get_finished_spans()
    assert span.name == "GET /info"
    assert "rerank.pairs" not in span.attributes


def test_a_failure_of_ours_is_an_error_of_the_span(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    tracing.finish(record(status=500, error="engine_error"), tracing.begin({}, BEGAN))

    assert exporter.get_finished_spans()[-1].status.status_code is StatusCode.ERROR


def test_the_span_stands_in_the_callers_trace(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=1"}
    context = tracing.begin(headers, BEGAN)
    outgoing = tracing.outgoing(context)
    tracing.finish(record(), context)

    span = exporter.get_finished_spans()[-1]
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, CALLER)
    assert span.context.trace_state["vendor"] == "1"
    assert outgoing == {"traceparent": f"00-{TRACE}-{span.context.span_id:016x}-01"}


@pytest.mark.parametrize("broken", ["", "nonsense", f"00-{'0' * 32}-{CALLER}-01", "\xff"])
def test_a_broken_header_begins_a_trace_of_its_own(
    tracing: Tracing, exporter: InMemorySpanExporter, broken: str
) -> None:
    tracing.finish(record(), tracing.begin({"traceparent": broken}, BEGAN))

    assert exporter.get_finished_spans()[-1].parent is None


def test_a_trace_that_the_caller_does_not_keep_is_passed_on_and_not_sent(
    tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    context = tracing.begin({"traceparent": f"00-{TRACE}-{CALLER}-00"}, BEGAN)
    outgoing = tracing.outgoing(context)
    tracing.finish(record(), context)

    assert exporter.get_finished_spans() == ()
    assert outgoing["traceparent"].startswith(f"00-{TRACE}-")
    assert outgoing["traceparent"].endswith("-00")


def test_a_request_without_a_trace_is_passed_over(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    tracing.finish(record(), None)

    assert tracing.outgoing(None) == {}
    assert exporter.get_finished_spans() == ()


def test_without_an_endpoint_nothing_is_traced() -> None:
    tracing = open_tracing(None)
    context = tracing.begin({"traceparent": f"00-{TRACE}-{CALLER}-01"}, BEGAN)
    tracing.finish(record(), context)
    tracing.close()

    assert tracing.outgoing(context) == {}


def test_a_collector_is_only_asked_for_when_there_is_something_to_send() -> None:
    open_tracing("http://127.0.0.1:9/").close()


ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from rerank_server.observability.tracing import open_tracing
open_tracing(None)
print("without an endpoint: fine")
open_tracing("http://127.0.0.1:9")
"""


def ending_without(name: str) -> tuple[str, str]:
    code = ABSENT.format(name=name)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    return ended.stdout, ended.stderr.strip().splitlines()[-1]


def test_without_opentelemetry_the_extra_is_named_once_traces_are_wanted() -> None:
    said, failed = ending_without("opentelemetry")

    assert said == "without an endpoint: fine\n"
    assert failed.startswith("rerank_core.errors.MissingExtra: traces need opentelemetry: install rerank-server[otel]")


def test_a_broken_install_keeps_its_own_error() -> None:
    _, failed = ending_without("requests")

    assert failed == "ModuleNotFoundError: No module named 'requests'"
