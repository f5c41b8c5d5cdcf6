"""Every request gets a name, and leaves a number, a line and a trace behind."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient, Response
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rerank_server.middleware.telemetry import LoopLag, TelemetryMiddleware, record_of
from rerank_server.observability.metrics import Metrics
from rerank_server.observability.request_record import RequestRecord
from rerank_server.observability.tracing import open_tracing

ROUTES = {"/rerank", "/livez", "/info", "/"}
TIMES = {"x-compute-time", "x-total-time", "x-tokenization-time", "x-queue-time", "x-inference-time"}


async def answer(send: Any, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Fills its record in, and answers."""
    record = record_of(scope)
    record.pairs, record.characters, record.tokens = 2, 90, 30
    record.tokenize_seconds, record.queue_seconds, record.forward_seconds = 0.0042, 0.0121, 0.25
    await answer(send)


class House:
    """The layer around an application, and what comes out at its back."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]] = application) -> None:
        self.metrics = Metrics()
        self.spans = InMemorySpanExporter()
        self.records: list[RequestRecord] = []

        async def remembering(scope: Any, receive: Any, send: Any) -> None:
            self.records.append(record_of(scope))
            await app(scope, receive, send)

        self.app = TelemetryMiddleware(
            remembering,
            routes=ROUTES,
            metrics=self.metrics,
            tracing=open_tracing("http://collector:4318", processor=SimpleSpanProcessor(self.spans)),
        )

    async def ask(self, method: str, path: str, **arguments: Any) -> Response:
        async with AsyncClient(transport=ASGITransport(self.app), base_url="http://server") as client:
            return await client.request(method, path, **arguments)

    def counted(self, route: str, method: str, status: int) -> bool:
        labels = f'{{method="{method}",route="{route}",status="{status}"}}'
        return f"rerank_requests_total{labels} 1.0\n" in self.metrics.render().decode()


async def test_a_request_leaves_a_number_a_line_and_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    with caplog.at_level(logging.INFO, "rerank_server.access"):
        response = await house.ask("POST", "/rerank?query=secret")

    assert (response.status_code, response.text) == (200, "ok")
    assert house.counted("/rerank", "POST", 200)
    assert [line.getMessage() for line in caplog.records] == ["POST /rerank 200"]
    assert house.spans.get_finished_spans()[-1].name == "POST /rerank"
    assert "secret" not in str([vars(line) for line in caplog.records])
    assert house.records[0].status == 200
    assert house.records[0].total_seconds > 0


@pytest.mark.parametrize("name", ["a", "0f.8_f-1:2", "x" * 128])
async def test_a_request_keeps_the_name_that_its_client_gave(name: str) -> None:
    house = House()
    response = await house.ask("GET", "/info", headers={"X-Request-ID": name})

    assert response.headers["x-request-id"] == name
    assert house.records[0].request_id == name


@pytest.mark.parametrize("name", ["", "x" * 129, "two words", "line\tbreak", "naïve", "<b>", "a;b"])
async def test_a_name_that_cannot_stand_in_a_log_is_replaced(name: str) -> None:
    response = await House().ask("GET", "/info", headers=[(b"X-Request-ID", name.encode("latin-1"))])

    assert len(response.headers["x-request-id"]) == 32
    assert response.headers["x-request-id"].isalnum()


async def test_two_requests_without_a_name_get_two() -> None:
    house = House()
    first, second = await house.ask("GET", "/info"), await house.ask("GET", "/info")

    assert first.headers["x-request-id"] != second.headers["x-request-id"]


async def test_scoring_says_what_it_took_in_whole_milliseconds() -> None:
    response = await House().ask("POST", "/rerank")

    assert response.headers["content-type"] == "text/plain"
    assert response.headers["x-compute-characters"] == "90"
    assert response.headers["x-compute-tokens"] == "30"
    assert response.headers["x-tokenization-time"] == "4"
    assert response.headers["x-queue-time"] == "12"
    assert response.headers["x-inference-time"] == "250"
    assert response.headers["x-total-time"] == response.headers["x-compute-time"]
    assert all(response.headers[name].isdecimal() for name in TIMES)


@pytest.mark.parametrize(("method", "path"), [("GET", "/info"), ("GET", "/rerank"), ("POST", "/nowhere")])
async def test_what_is_no_scoring_says_no_times(method: str, path: str) -> None:
    response = await House().ask(method, path)

    assert not TIMES & response.headers.keys()


@pytest.mark.parametrize(
    ("path", "route"), [("/rerank/", "/rerank"), ("/", "/"), ("/nowhere/secret", "other"), ("/rerank/secret", "other")]
)
async def test_a_path_is_a_route_or_other(path: str, route: str) -> None:
    house = House()
    await house.ask("GET", path)

    assert house.counted(route, "GET", 200)


@pytest.mark.parametrize(("path", "route"), [("/rerank/", "/rerank"), ("//rerank", "/rerank"), ("/rerank/x", "other")])
async def test_a_route_is_counted_as_the_router_reads_its_path(path: str, route: str) -> None:
    house = House()
    async with AsyncClient(transport=ASGITransport(house.app), base_url="http://server") as client:
        await client.get(f"http://server{path}")

    assert house.counted(route, "GET", 200)


async def test_the_response_names_its_own_span_in_the_callers_trace() -> None:
    house = House()
    trace = "0af7651916cd43dd8448eb211c80319c"
    response = await house.ask("POST", "/rerank", headers={"Traceparent": f"00-{trace}-b7ad6b7169203331-01"})

    span = house.spans.get_finished_spans()[-1]
    assert response.headers["traceparent"] == f"00-{trace}-{span.context.span_id:016x}-01"


async def test_probes_are_counted_and_not_traced() -> None:
    house = House()
    response = await house.ask("GET", "/livez")

    assert "traceparent" not in response.headers
    assert house.counted("/livez", "GET", 200)
    assert house.spans.get_finished_spans() == ()


async def test_an_application_that_fails_is_a_500() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("a bug")

    house = House(failing)
    with pytest.raises(RuntimeError, match="a bug"):
        await house.ask("POST", "/rerank")

    assert house.counted("/rerank", "POST", 500)
    assert house.spans.get_finished_spans()[-1].attributes["http.response.status_code"] == 500


async def test_a_failure_after_the_response_began_keeps_the_status_that_was_sent() -> None:
    async def failing_late(scope: Any, receive: Any, send: Any) -> None:
        await answer(send)
        raise RuntimeError("a bug")

    house = House(failing_late)
    with pytest.raises(RuntimeError, match="a bug"):
        await house.ask("POST", "/rerank")

    assert house.counted("/rerank", "POST", 200)


async def test_an_application_that_returns_without_an_answer_was_left_by_its_client() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        pass

    house = House(silent)
    await house.app(scope_of("POST", "/rerank"), None, None)

    assert house.counted("/rerank", "POST", 499)


async def test_a_cancelled_request_was_left_by_its_client() -> None:
    began = asyncio.Event()

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        await asyncio.Event().wait()

    house = House(waiting)
    request = asyncio.create_task(house.app(scope_of("POST", "/rerank"), None, None))
    await began.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request

    assert house.counted("/rerank", "POST", 499)


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_what_is_not_http_passes_through(kind: str) -> None:
    """The very same three things: a lifespan has no path, and nobody counts it."""
    seen: list[Any] = []

    async def app(*given: Any) -> None:
        seen.extend(given)

    scope, receive, send = {"type": kind}, object(), object()
    await TelemetryMiddleware(app, routes=ROUTES, metrics=Metrics(), tracing=open_tracing(None))(scope, receive, send)

    assert [id(one) for one in seen] == [id(scope), id(receive), id(send)]
    assert scope == {"type": kind}


async def test_the_lag_of_the_loop_is_the_worst_of_late() -> None:
    now, naps = 0.0, iter([0.5, 0.75, 2.0, *[0.5] * 30])
    seen = []

    async def sleep(_: float) -> None:
        nonlocal now
        seen.append(lag.seconds)
        nap = next(naps, None)
        if nap is None:
            raise asyncio.CancelledError
        now += nap

    lag = LoopLag(clock=lambda: now, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        await lag.run()

    assert seen[:5] == [0.0, 0.0, 0.25, 1.5, 1.5]
    assert seen[-1] == 0.0


def scope_of(method: str, path: str) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
