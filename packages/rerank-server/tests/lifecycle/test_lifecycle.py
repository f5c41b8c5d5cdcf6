"""Loading, ready, broken; and never deaf."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from httpx import ASGITransport, Response
from httpx import AsyncClient as Client
from rerank_core.errors import CheckpointError, DeviceError, EngineError
from rerank_core.testing.doubles import OverlapModel
from rerank_server import __version__
from rerank_server.app import create_app
from rerank_server.lifecycle.watchdog import Verdict, Watchdog
from rerank_server.settings import Settings

PAIR = {"query": "where do pandas live", "passage": "pandas live in China"}


async def test_the_port_answers_while_the_model_loads(
    serve: Callable[..., AbstractAsyncContextManager[Client]], until_ready: Callable[..., Awaitable[None]]
) -> None:
    may_load = threading.Event()

    def load(_: Settings) -> OverlapModel:
        may_load.wait()
        return OverlapModel()

    async with serve(load, model="some/model") as client:
        health = await client.get("/health")
        scoring = await client.post("/rerank", json=PAIR)
        documents = await client.post("/v1/rerank", json={"query": "x", "documents": ["y"]})
        may_load.set()
        await until_ready(client)
        loaded = await client.get("/health")

    assert health.status_code == 503
    assert health.json() == {
        "status": "loading",
        "model_loaded": False,
        "model_name": "some/model",
        "device": "auto",
        "dtype": "auto",
        "version": __version__,
    }
    assert (scoring.status_code, scoring.headers["Retry-After"]) == (503, "5")
    assert scoring.json() == {"detail": "the server is loading: try again"}
    assert (documents.status_code, documents.json()["code"]) == (503, "unavailable")
    assert (loaded.status_code, loaded.json()["status"]) == (200, "healthy")


async def test_health_says_what_runs(client: Client) -> None:
    response = await client.get("/health")

    assert response.status_code == 200
    assert response.json() == {
        "status": "healthy",
        "model_loaded": True,
        "model_name": "overlap",
        "device": "cpu",
        "dtype": "float32",
        "version": __version__,
    }


@pytest.mark.parametrize("failure", [CheckpointError("no such model"), RuntimeError("a bug")])
async def test_a_model_that_cannot_be_loaded_stops_the_server(
    serve: Callable[..., AbstractAsyncContextManager[Client]], failure: Exception
) -> None:
    def load(_: Settings) -> OverlapModel:
        raise failure

    stopped = asyncio.Event()
    async with serve(load, stop=stopped.set) as client:
        await asyncio.wait_for(stopped.wait(), timeout=30)
        health = await client.get("/health")

    assert (health.status_code, health.json()["status"]) == (503, "unhealthy")


async def test_health_answers_while_a_batch_computes(client: Client, model: OverlapModel) -> None:
    model.gate.clear()
    scoring = asyncio.create_task(client.post("/rerank", json=PAIR))
    await asyncio.to_thread(model.started.wait)

    during = await client.get("/health")
    still_waiting = not scoring.done()
    model.gate.set()

    assert during.status_code == 200
    assert still_waiting
    assert (await scoring).status_code == 200


async def test_all_pairs_of_a_batch_go_through_the_model_together(client: Client, model: OverlapModel) -> None:
    pairs = [PAIR | {"passage": f"passage {number}"} for number in range(4)]

    await client.post("/rerank/batch", json={"pairs": pairs})

    assert model.forwards == [4]


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz", "/", "/info", "/docs", "/redoc", "/openapi.json"])
async def test_pages_and_probes_answer_head(client: Client, path: str) -> None:
    response = await client.head(path)

    assert response.status_code == 200
    assert response.content == b""


async def test_the_root_says_what_runs_and_where_to_look(client: Client) -> None:
    body = (await client.get("/")).json()

    assert (body["service"], body["version"], body["status"]) == ("rerank", __version__, "healthy")
    assert body["model"] == {
        "name": "overlap",
        "revision": None,
        "kind": "cross-encoder",
        "engine": "overlap",
        "engine_reason": "a test double",
        "device": "cpu",
        "dtype": "float32",
        "max_length": 64,
        "activation": None,
        "long_documents": "truncate",
        "calibration": None,
        "languages": [],
        "takes_instruction": False,
        "instruction": None,
    }
    for path in body["docs"].values():
        assert (await client.get(path)).status_code == 200


async def test_info_tells_clients_the_limits(client: Client) -> None:
    info = (await client.get("/info")).json()

    assert "reranker" in info["model_type"]
    assert (info["model_id"], info["max_input_length"]) == ("overlap", 64)
    assert (info["max_client_batch_size"], info["max_text_chars"], info["max_body_bytes"]) == (
        1000,
        100_000,
        10_000_000,
    )


async def test_any_origin_may_read_answers_and_errors_but_sends_no_credentials(client: Client) -> None:
    origin = {"Origin": "https://app.example"}

    for response in (
        await client.post("/rerank", json=PAIR, headers=origin),
        await client.post("/rerank", json={}, headers=origin),
        await client.post("/v1/rerank", json={}, headers=origin),
        await client.get("/nowhere", headers=origin),
    ):
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in response.headers


async def test_named_origins_may_and_others_may_not(serve: Callable[..., AbstractAsyncContextManager[Client]]) -> None:
    async with serve(lambda _: OverlapModel(), cors_origins="https://app.example") as client:
        named = await client.get("/livez", headers={"Origin": "https://app.example"})
        other = await client.get("/livez", headers={"Origin": "https://evil.example"})

    assert named.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Access-Control-Allow-Origin" not in other.headers


async def test_an_unknown_path_or_method_is_an_error_in_the_documented_shape(client: Client) -> None:
    missing, wrong = await client.get("/nowhere/secret"), await client.get("/rerank")

    assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})
    assert (wrong.status_code, wrong.json()) == (405, {"detail": "Method Not Allowed"})


@pytest.mark.parametrize("path", ["/static/..%2fsettings.py", "/static/%00", "/static/" + "a" * 5000, "/static/"])
async def test_only_the_known_files_are_served(client: Client, path: str) -> None:
    assert (await client.get(path)).status_code == 404


async def test_draining_refuses_new_requests_and_waits_for_those_in_flight(
    model: OverlapModel, until_ready: Callable[..., Awaitable[None]]
) -> None:
    app = create_app(Settings(), load=lambda _: model, stop=lambda: None)
    lifecycle = app.lifecycle
    async with lifecycle.run(), Client(transport=ASGITransport(app), base_url="http://server") as client:
        await until_ready(client, model)
        model.gate.clear()
        in_flight = asyncio.create_task(client.post("/rerank", json=PAIR))
        await asyncio.to_thread(model.started.wait)

        draining = asyncio.create_task(lifecycle.drain(prestop=0, limit=60))
        await asyncio.sleep(0)
        health = await client.get("/health")
        refused = await client.post("/rerank", json=PAIR)
        waits = not draining.done()
        model.gate.set()
        answered = await in_flight
        assert await draining

    assert (health.status_code, health.json()["status"]) == (503, "draining")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert waits
    assert answered.status_code == 200


async def test_what_is_not_done_when_draining_is_over_is_answered_all_the_same(
    model: OverlapModel, until_ready: Callable[..., Awaitable[None]]
) -> None:
    app = create_app(Settings(), load=lambda _: model, stop=lambda: None)
    lifecycle = app.lifecycle
    async with lifecycle.run(), Client(transport=ASGITransport(app), base_url="http://server") as client:
        await until_ready(client, model)
        model.gate.clear()
        in_flight = asyncio.create_task(client.post("/rerank", json=PAIR))
        await asyncio.to_thread(model.started.wait)

        assert await lifecycle.drain(prestop=0, limit=0)
        answered = await in_flight
        model.gate.set()

    assert answered.status_code == 503
    assert "the server ended before this was computed" in answered.json()["detail"]


async def test_draining_while_the_model_loads_ends_at_once_and_the_model_takes_no_requests() -> None:
    may_load = threading.Event()

    def load(_: Settings) -> OverlapModel:
        may_load.wait()
        return OverlapModel()

    app = create_app(Settings(), load=load, stop=lambda: None)
    async with app.lifecycle.run(), Client(transport=ASGITransport(app), base_url="http://server") as client:
        assert await app.lifecycle.drain(prestop=60, limit=60)
        may_load.set()
        while app.lifecycle.model is None:  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(0)
        health = await client.get("/health")
        refused = await client.post("/rerank", json=PAIR)

    assert (health.status_code, health.json()["status"]) == (503, "draining")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")


class Broken(OverlapModel):
    """A model of which every batch fails, until it is mended."""

    mended = False

    def forward(self, *arguments: Any) -> Any:
        outputs = super().forward(*arguments)
        if not self.mended:
            raise EngineError("broken")
        return outputs


async def test_a_server_whose_batches_all_fail_is_unhealthy_until_one_succeeds(
    serve: Callable[..., AbstractAsyncContextManager[Client]], until_ready: Callable[..., Awaitable[None]]
) -> None:
    model = Broken()
    model.mended = True
    async with serve(lambda _: model) as client:
        await until_ready(client)
        model.mended = False
        for number in range(3):
            await client.post("/rerank", json=PAIR | {"passage": f"passage {number}"})
        await until(client, "unhealthy")
        health = await client.get("/health")
        model.mended = True
        answered = await client.post("/rerank", json=PAIR)
        await until(client, "healthy")

    assert (health.status_code, answered.status_code) == (503, 200)


class Verdicts(Watchdog):
    """A watchdog whose verdict the test decides."""

    made: ClassVar[list["Verdicts"]] = []

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.given: Verdict = "healthy"
        self.ticks = 0
        self.made.append(self)

    def tick(self) -> Verdict:
        self.ticks += 1
        self.verdict = self.given
        return self.verdict


@dataclass
class Timer:
    """An exit timer that only notes what it was told."""

    seconds: float | None = None

    def arm(self, seconds: float) -> None:
        self.seconds = seconds

    def disarm(self) -> None:
        self.seconds = None


@pytest.fixture
def verdicts(monkeypatch: pytest.MonkeyPatch) -> list[Verdicts]:
    """The watchdogs of all servers, which look at their threads all the time."""
    monkeypatch.setattr("rerank_server.lifecycle.lifecycle.Watchdog", Verdicts)
    monkeypatch.setattr("rerank_server.lifecycle.lifecycle.TICK", 0.0)
    Verdicts.made = []
    return Verdicts.made


@pytest.fixture
async def watched(
    verdicts: list[Verdicts], until_ready: Callable[..., Awaitable[None]]
) -> AsyncIterator[tuple[Client, OverlapModel, Verdicts, Timer, asyncio.Event]]:
    """A server that is ready: its client, its model, its watchdog, its exit timer, and the event of its end."""
    model, timer, stopped = OverlapModel(), Timer(), asyncio.Event()
    app = create_app(Settings(), load=lambda _: model, stop=stopped.set, exit_timer=timer)
    async with app.lifecycle.run(), Client(transport=ASGITransport(app), base_url="http://server") as client:
        await until_ready(client, model)
        yield client, model, verdicts[-1], timer, stopped
        model.gate.set()


async def until(client: Client, state: str) -> None:
    while (await client.get("/readyz")).json()["status"] != state:  # noqa: ASYNC110 (over HTTP there is no event)
        await asyncio.sleep(0)  # lets the loop turn: in process, nothing else does


async def request_that_is_held(client: Client, model: OverlapModel) -> asyncio.Task[Response]:
    """Send a request, and wait until its forward pass has begun, which ends when the model's gate is opened."""
    model.gate.clear()
    model.started.clear()
    waiting = asyncio.create_task(client.post("/rerank", json=PAIR))
    await asyncio.to_thread(model.started.wait)
    return waiting


async def test_while_a_thread_is_stuck_nobody_waits_and_when_it_goes_on_requests_are_taken_again(
    watched: tuple[Client, OverlapModel, Verdicts, Timer, asyncio.Event], caplog: pytest.LogCaptureFixture
) -> None:
    client, model, watchdog, _, stopped = watched
    waiting = await request_that_is_held(client, model)

    watchdog.given = "stuck"
    await until(client, "stuck")
    given_up = await waiting
    seen = watchdog.ticks
    while watchdog.ticks < seen + 2:  # noqa: ASYNC110 (it tells nobody that it looks again)
        await asyncio.sleep(0)
    refused = await client.post("/rerank", json=PAIR)
    watchdog.given = "healthy"
    model.gate.set()
    await until(client, "healthy")
    answered = await client.post("/rerank", json=PAIR)

    assert [response.status_code for response in (given_up, refused, answered)] == [503, 503, 200]
    assert "is stuck" in given_up.json()["detail"]
    assert caplog.text.count("requests are refused until it has finished") == 1
    assert "requests are accepted again" in caplog.text
    assert not stopped.is_set()


async def test_a_lost_thread_ends_the_process_by_force_if_it_must_be(
    watched: tuple[Client, OverlapModel, Verdicts, Timer, asyncio.Event], caplog: pytest.LogCaptureFixture
) -> None:
    client, model, watchdog, timer, stopped = watched
    waiting = await request_that_is_held(client, model)

    watchdog.given = "lost"
    await asyncio.wait_for(stopped.wait(), timeout=60)
    given_up = await waiting
    health = await client.get("/health")

    assert (given_up.status_code, health.json()["status"]) == (503, "unhealthy")
    assert timer.seconds == 10.0
    assert "thread compute:" in caplog.text


async def test_a_thread_that_is_lost_while_the_model_loads_ends_the_process(
    verdicts: list[Verdicts], caplog: pytest.LogCaptureFixture
) -> None:
    may_load, model, timer, stopped = threading.Event(), OverlapModel(), Timer(), asyncio.Event()
    model.gate.clear()

    def load(_: Settings) -> OverlapModel:
        may_load.wait()
        return model

    app = create_app(Settings(), load=load, stop=stopped.set, exit_timer=timer)
    async with app.lifecycle.run(), Client(transport=ASGITransport(app), base_url="http://server") as client:
        for _ in "watch":
            await asyncio.sleep(0)  # there is nothing to watch yet
        may_load.set()
        await asyncio.to_thread(model.started.wait)
        verdicts[-1].given = "stuck"
        while "requests are refused" not in caplog.text:  # noqa: ASYNC110 (a log has no event)
            await asyncio.sleep(0)
        verdicts[-1].given = "lost"
        await asyncio.wait_for(stopped.wait(), timeout=60)
        health = await client.get("/health")
        model.gate.set()

    assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
    assert timer.seconds == 10.0


async def test_a_device_that_is_lost_ends_the_process_and_draining_changes_nothing(
    watched: tuple[Client, OverlapModel, Verdicts, Timer, asyncio.Event],
) -> None:
    client, model, _, _, stopped = watched
    model.fail_next = DeviceError("the device is lost")

    failed = await client.post("/rerank", json=PAIR)
    await asyncio.wait_for(stopped.wait(), timeout=60)
    drained = await client._transport.app.lifecycle.drain(prestop=60, limit=60)

    assert drained
    assert failed.status_code == 500
    assert (await client.get("/health")).json()["status"] == "unhealthy"


async def test_a_model_that_loads_after_the_end_is_dropped() -> None:
    may_load, loading = threading.Event(), []

    def load(_: Settings) -> OverlapModel:
        loading.append(threading.current_thread())
        may_load.wait()
        return OverlapModel()

    app = create_app(Settings(), load=load, stop=lambda: None)
    async with app.lifespan():
        while not loading:  # noqa: ASYNC110 (a thread has no event)
            await asyncio.sleep(0)
        state = app.lifecycle.state
    may_load.set()
    await asyncio.to_thread(loading[0].join)
    await asyncio.sleep(0)  # in which the model arrives

    assert (state, app.lifecycle.state) == ("loading", "draining")
    assert app.lifecycle.model is None
