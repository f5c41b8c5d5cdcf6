"""Many requests at once: who waits, who is refused, and who is forgotten."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx import ASGITransport
from httpx import AsyncClient as Client
from rerank_core.errors import DeviceError, EngineError
from rerank_core.scorer import Output
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import Encoding, Pair, ScoreOptions, SharedPrefix, TokenSequence
from rerank_server.app import create_app
from rerank_server.inference.service import Service, batch_bounds
from rerank_server.observability.request_record import RequestRecord
from rerank_server.settings import Settings

PAIR = {"query": "where do pandas live", "passage": "pandas live in China"}
Serve = Callable[..., AbstractAsyncContextManager[Client]]
Ready = Callable[..., Awaitable[None]]


def documents(count: int, name: str = "document") -> dict[str, Any]:
    return {"query": "pandas", "documents": [f"{name} {number}" for number in range(count)]}


async def in_the_network(model: OverlapModel) -> None:
    await asyncio.to_thread(model.started.wait)


async def metric(client: Client, name: str) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


async def until(client: Client, name: str, value: float) -> None:
    while await metric(client, name) != value:  # noqa: ASYNC110 (over HTTP there is no event to wait for)
        await asyncio.sleep(0)


async def test_a_small_request_is_answered_before_the_large_one_it_came_behind(
    client: Client, model: OverlapModel
) -> None:
    answered: list[str] = []

    async def post(name: str, body: dict[str, Any]) -> None:
        await client.post("/v1/rerank", json=body)
        answered.append(name)

    model.gate.clear()
    first = asyncio.create_task(post("first", documents(1, name="first")))
    await in_the_network(model)
    large = asyncio.create_task(post("large", documents(1000)))
    await until(client, "rerank_queue_pairs", 1000)
    small = asyncio.create_task(post("small", documents(1, name="small")))
    await until(client, "rerank_queue_pairs", 1001)
    model.gate.set()
    await asyncio.gather(first, large, small)

    assert answered == ["first", "small", "large"]


async def test_requests_of_many_clients_share_forward_passes(client: Client, model: OverlapModel) -> None:
    model.gate.clear()
    first = asyncio.create_task(client.post("/v1/rerank", json=documents(1, name="first")))
    await in_the_network(model)
    others = [asyncio.create_task(client.post("/v1/rerank", json=documents(1, name=str(n)))) for n in range(32)]
    await until(client, "rerank_queue_pairs", 32)
    model.gate.set()
    await asyncio.gather(first, *others)

    assert sum(model.forwards) == 33
    assert len(model.forwards) <= 4


async def test_a_full_server_refuses_whole_requests_while_it_computes(serve: Serve, until_ready: Ready) -> None:
    model = OverlapModel()
    async with serve(lambda _: model, max_documents=4, max_queue_pairs=4) as client:
        await until_ready(client, model)
        model.gate.clear()
        inside = asyncio.create_task(client.post("/v1/rerank", json=documents(3)))
        await in_the_network(model)
        refused = await client.post("/v1/rerank", json=documents(2, name="other"))
        native = await client.post("/rerank/batch", json={"pairs": [PAIR, PAIR]})
        fits = asyncio.create_task(client.post("/rerank", json=PAIR))
        await until(client, "rerank_in_flight_pairs", 4)
        too_large = await client.post("/v1/rerank", json=documents(5))
        computing = not inside.done()
        model.gate.set()

        assert (await inside).status_code == (await fits).status_code == 200
        assert (await client.post("/v1/rerank", json=documents(2))).status_code == 200
        metrics = (await client.get("/metrics")).text
    assert computing
    assert (refused.status_code, native.status_code, too_large.status_code) == (429, 429, 413)
    assert int(refused.headers["Retry-After"]) >= 1
    assert int(native.headers["Retry-After"]) >= 1
    assert refused.json()["code"] == "overloaded"
    assert "3 of 4 pairs" in refused.json()["message"]
    assert "3 of 4 pairs" in native.json()["detail"]
    assert 'rerank_rejections_total{reason="overloaded"} 2.0' in metrics
    assert 'rerank_rejections_total{reason="too_many_documents"} 1.0' in metrics


async def test_a_request_that_is_over_the_tokens_that_the_server_holds_is_413(serve: Serve, until_ready: Ready) -> None:
    async with serve(lambda _: OverlapModel(), max_queue_tokens=160, max_documents=20, max_length=8) as client:
        await until_ready(client)
        response = await client.post("/v1/rerank", json=documents(20, name="a long document"))

    assert response.status_code == 413
    assert "RERANK_MAX_QUEUE_TOKENS" in response.json()["message"]


@pytest.mark.parametrize("how", ["setting", "header"])
async def test_a_request_whose_time_is_over_is_504_and_what_is_left_of_it_is_not_computed(
    serve: Serve, until_ready: Ready, how: str
) -> None:
    model = OverlapModel()
    settings = {"timeout": 0.05} if how == "setting" else {}
    headers = {"X-Request-Timeout": "0.05"} if how == "header" else {}
    async with serve(lambda _: model, **settings) as client:
        await until_ready(client, model)
        model.gate.clear()
        response = await client.post("/v1/rerank", json=documents(500), headers=headers)
        left = await metric(client, "rerank_queue_pairs")
        model.gate.set()
        after = await client.post("/v1/rerank", json=documents(1, name="after"), headers={"X-Request-Timeout": "60"})

    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    assert "0.05 s" in response.json()["message"]
    assert left == 0
    assert after.status_code in {200, 504}
    assert sum(model.forwards) < 200


async def test_a_header_does_not_lengthen_the_time(serve: Serve, until_ready: Ready) -> None:
    model = OverlapModel()
    async with serve(lambda _: model, timeout=0.05) as client:
        await until_ready(client, model)
        model.gate.clear()
        response = await client.post("/rerank", json=PAIR, headers={"X-Request-Timeout": "1e9"})
        model.gate.set()

    assert response.status_code == 504


@pytest.mark.parametrize("value", ["0", "-1", "nan", "soon", ""])
async def test_a_time_that_is_none_is_refused(client: Client, value: str) -> None:
    native = await client.post("/rerank", json=PAIR, headers={"X-Request-Timeout": value})
    other = await client.post("/v1/rerank", json=documents(1), headers={"X-Request-Timeout": value})

    assert (native.status_code, other.status_code) == (400, 400)
    assert "X-Request-Timeout" in native.json()["detail"]


async def test_a_client_that_leaves_takes_its_pairs_with_it(model: OverlapModel, until_ready: Ready) -> None:
    app = create_app(Settings(), load=lambda _: model, stop=lambda: None)
    async with app.lifespan(), Client(transport=ASGITransport(app), base_url="http://server") as client:
        await until_ready(client, model)
        model.gate.clear()
        staying = asyncio.create_task(client.post("/v1/rerank", json=documents(1, name="stays")))
        await in_the_network(model)
        leave = asyncio.Event()
        leaving = asyncio.create_task(app(*_leaving(documents(500), leave)))
        await until(client, "rerank_queue_pairs", 500)

        leave.set()
        await leaving
        left = (await metric(client, "rerank_queue_pairs"), await metric(client, "rerank_in_flight_pairs"))
        model.gate.set()
        answered = await staying
        metrics = (await client.get("/metrics")).text

    assert left == (0, 1)
    assert answered.status_code == 200
    assert model.forwards == [1]
    assert 'rerank_rejections_total{reason="disconnected"} 1.0' in metrics
    assert 'status="499"' in metrics


def _leaving(body: dict[str, Any], leave: asyncio.Event) -> tuple[Any, Any, Any]:
    """An ASGI connection whose client leaves when it is told to."""
    scope = {
        "type": "http", "method": "POST", "path": "/v1/rerank", "raw_path": b"/v1/rerank", "query_string": b"",
        "headers": [(b"content-type", b"application/json")], "http_version": "1.1", "scheme": "http",
        "server": ("server", 80), "client": ("client", 1), "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip
    messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        pass

    return scope, receive, send


async def test_a_pair_that_breaks_the_network_fails_only_its_own_request(
    model: OverlapModel, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = model.forward

    def forward(sequences, shared):
        outputs = healthy(sequences)
        if any(output > 6 for output in outputs):
            raise RuntimeError("poison")
        return outputs

    monkeypatch.setattr(model, "forward", forward)
    poison = {"query": "a b c d e f", "passage": "a b c d e f"}
    model.gate.clear()
    first = asyncio.create_task(client.post("/rerank", json=PAIR | {"passage": "first"}))
    await in_the_network(model)
    good = [asyncio.create_task(client.post("/rerank", json=PAIR | {"passage": f"p {n}"})) for n in range(9)]
    bad = asyncio.create_task(client.post("/rerank", json=poison))
    await until(client, "rerank_in_flight_pairs", 11)
    model.gate.set()

    assert [(await one).status_code for one in [first, *good]] == [200] * 10
    assert (await bad).status_code == 500
    assert "a b c" not in (await bad).text


async def test_a_lost_device_answers_everybody_and_stops_the_server(serve: Serve, until_ready: Ready) -> None:
    model, stopped = OverlapModel(), asyncio.Event()
    async with serve(lambda _: model, stop=stopped.set) as client:
        await until_ready(client, model)
        model.gate.clear()
        first = asyncio.create_task(client.post("/rerank", json=PAIR))
        await in_the_network(model)
        second = asyncio.create_task(client.post("/rerank", json=PAIR | {"passage": "another"}))
        await until(client, "rerank_in_flight_pairs", 2)
        model.fail_next = DeviceError("the device is lost")
        model.gate.set()
        statuses = [(await first).status_code, (await second).status_code]
        await stopped.wait()
        health, live = await client.get("/readyz"), await client.get("/livez")
        refused = await client.post("/rerank", json=PAIR)

    assert statuses == [500, 500]
    assert (health.status_code, live.status_code, refused.status_code) == (503, 200, 503)
    assert health.json() == {"status": "unhealthy"}


async def test_requests_are_taken_until_everybody_knows_that_the_server_will_end(
    model: OverlapModel, until_ready: Ready
) -> None:
    app = create_app(Settings(), load=lambda _: model, stop=lambda: None)
    lifecycle = app.lifecycle
    async with lifecycle.run(), Client(transport=ASGITransport(app), base_url="http://server") as client:
        await until_ready(client, model)
        draining = asyncio.create_task(lifecycle.drain(prestop=30, limit=60))
        await asyncio.sleep(0)
        readiness = await client.get("/readyz")
        taken = await client.post("/rerank", json=PAIR)
        draining.cancel()

    assert readiness.status_code == 503
    assert taken.status_code == 200


async def test_a_cached_pair_is_not_computed_again_and_has_the_same_answer(serve: Serve, until_ready: Ready) -> None:
    model = OverlapModel()
    async with serve(lambda _: model, cache_mb=1) as client:
        await until_ready(client, model)
        first = (await client.post("/v1/rerank", json=documents(5))).json()
        again = (await client.post("/v1/rerank", json=documents(7) | {"raw_scores": True})).json()
        once_more = (await client.post("/v1/rerank", json=documents(5))).json()
        left = await client.post("/v1/rerank", json=documents(5) | {"max_tokens_per_doc": 1})
        metrics = (await client.get("/metrics")).text

    assert first["results"] == once_more["results"]
    assert first["usage"] == once_more["usage"]
    assert len(again["results"]) == 7
    assert model.forwards == [5, 2, 1]
    assert left.status_code == 200
    assert "rerank_cache_hits_total 10.0" in metrics
    assert "rerank_cache_misses_total 12.0" in metrics


async def test_an_answer_says_what_took_its_time_and_what_it_is_called(client: Client) -> None:
    named = await client.post("/v1/rerank", json=documents(3), headers={"X-Request-ID": "mine-1"})
    unnamed = await client.get("/livez")

    assert named.headers["X-Request-ID"] == "mine-1"
    assert len(unnamed.headers["X-Request-ID"]) == 32
    assert named.headers["x-compute-tokens"] == str(named.json()["usage"]["total_tokens"])
    for name in ("x-total-time", "x-queue-time", "x-tokenization-time", "x-inference-time"):
        assert int(named.headers[name]) >= 0


@pytest.mark.parametrize("path", ["/reranker/livez", "/livez"])
async def test_a_prefix_of_an_ingress_may_be_there_or_not(serve: Serve, path: str) -> None:
    async with serve(lambda _: OverlapModel(), root_path="/reranker") as client:
        answer = await client.get(path)
        page = await client.get("/reranker/docs")
        bare = await client.get("/reranker")

    assert answer.status_code == page.status_code == bare.status_code == 200
    assert bare.json()["service"] == "rerank"


async def test_a_request_that_was_admitted_is_finished_though_its_tokens_were_more_than_estimated(
    model: OverlapModel,
) -> None:
    service = Service(model, max_pairs=10, max_tokens=18)
    record = RequestRecord(request_id="1", method="POST", route="/rerank")
    pairs = [Pair("a b c", f"{number} b c d e f") for number in range(2)]

    scores = await service.score_pairs(pairs, ScoreOptions(), seconds=60, record=record)
    service.close()

    assert record.tokens == 20
    assert len(scores.values) == 2


class HeldTokenizer(OverlapModel):
    """Tokenises as often as it is permitted; ``tokenizing`` is set when it is asked to. May be ``broken``."""

    def __init__(self) -> None:
        super().__init__()
        self.permits = threading.Semaphore(100)
        self.tokenizing = threading.Event()
        self.broken = False
        self.parts = 0

    def encode(self, query: str, documents: Sequence[str], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        self.tokenizing.set()
        self.permits.acquire()
        self.parts += 1
        return super().encode(query, documents, options, first)

    def forward(self, sequences: Sequence[TokenSequence], shared: Sequence[SharedPrefix | None] = ()) -> list[Output]:
        if self.broken:
            raise EngineError("broken")
        return super().forward(sequences)


async def test_at_the_end_of_draining_what_is_being_tokenised_is_answered_too(until_ready: Ready) -> None:
    model = HeldTokenizer()
    app = create_app(Settings(), load=lambda _: model, stop=lambda: None)
    lifecycle = app.lifecycle
    async with lifecycle.run(), Client(transport=ASGITransport(app), base_url="http://server") as client:
        await until_ready(client, model)
        model.permits = threading.Semaphore(0)
        model.tokenizing.clear()
        requests = [asyncio.create_task(client.post("/v1/rerank", json=documents(200))) for _ in range(2)]
        await asyncio.to_thread(model.tokenizing.wait)
        await until(client, "rerank_in_flight_pairs", 400)

        assert await lifecycle.drain(prestop=0, limit=0)
        statuses = [(await request).status_code for request in requests]
        model.permits.release(100)

    assert statuses == [503, 503]


async def test_a_request_that_has_failed_is_answered_at_once_and_not_tokenised_to_its_end(
    serve: Serve, until_ready: Ready
) -> None:
    model = HeldTokenizer()
    async with serve(lambda _: model) as client:
        await until_ready(client, model)
        model.parts, model.broken, model.permits = 0, True, threading.Semaphore(1)
        answered = await client.post("/v1/rerank", json=documents(640))
        parts = model.parts
        model.permits.release(100)

    assert answered.status_code == 500
    assert parts == 1


def test_a_part_has_few_pairs_and_few_characters() -> None:
    short, long = Pair("q", "d"), Pair("q", "d" * 99_999)

    assert batch_bounds([]) == [0]
    assert batch_bounds([short] * 130) == [0, 64, 128, 130]
    assert batch_bounds([long] * 3) == [0, 1, 2, 3]
    assert batch_bounds([Pair("q", "d" * 9_999)] * 12) == [0, 5, 10, 12]
    assert batch_bounds([Pair("q", "d" * 500_000)] * 2) == [0, 1, 2]
