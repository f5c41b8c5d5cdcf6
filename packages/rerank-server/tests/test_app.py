"""The application as the code around it sees it, and what it answers where a route fails."""

import asyncio
import logging
import signal
from dataclasses import FrozenInstanceError

import msgspec
import pytest
from httpx import ASGITransport, AsyncClient
from litestar import Litestar
from rerank_core.errors import CheckpointError, ModelError
from rerank_core.testing.doubles import OverlapModel
from rerank_server.app import Application, create_app
from rerank_server.dialects.examples import REPLY
from rerank_server.dialects.routing import PREFIXES, dialect_of_prefix
from rerank_server.settings import Settings


@pytest.fixture
def app() -> Application:
    return create_app(Settings(api_keys="secret-key"), load=lambda _: OverlapModel(), stop=lambda: None)


def test_an_application_cannot_be_changed_and_shows_no_key(app: Application) -> None:
    with pytest.raises(FrozenInstanceError):
        app.lifecycle = None  # type: ignore[misc,assignment]

    assert "secret-key" not in repr(app)
    assert not isinstance(app, Litestar)


async def test_an_application_has_the_parts_that_answer(app: Application) -> None:
    async with app.lifespan(), AsyncClient(transport=ASGITransport(app), base_url="http://server") as client:
        app.api_keys.replace((b"another",))
        answers = [
            (await client.get("/info", headers={"Authorization": f"Bearer {key}"})).status_code
            for key in ("secret-key", "another")
        ]

    assert answers == [401, 200]
    assert 'rerank_requests_total{method="GET",route="/info",status="401"} 1.0' in app.metrics.render().decode()
    assert {"/info", "/v1/models/{name:path}", "/tei/rerank"} <= app.paths


async def test_by_default_an_application_that_cannot_work_ends_its_process_with_sigterm() -> None:
    def fail(_: Settings) -> OverlapModel:
        raise CheckpointError("no such model")

    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    try:
        async with create_app(Settings(), load=fail).lifespan():
            await asyncio.wait_for(told.wait(), timeout=60)
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


@pytest.mark.parametrize("prefix", ["", *PREFIXES])
async def test_a_route_that_fails_is_500_in_its_dialect_and_the_log_says_why(
    prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(Settings(), load=lambda _: OverlapModel(), stop=lambda: None)

    def fail() -> float:
        raise ZeroDivisionError("a bug")

    app.metrics.watch(queue_pairs=fail)
    with caplog.at_level(logging.INFO, "rerank_server"):
        async with AsyncClient(transport=ASGITransport(app), base_url="http://server") as client:
            answer = await client.get(f"{prefix}/metrics")

    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/json")
    assert answer.headers["X-Request-ID"]
    assert "a bug" not in answer.text
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.getMessage() == "GET /metrics failed"
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    dialect = dialect_of_prefix(prefix)
    said = msgspec.to_builtins(dialect.error(ModelError(""), REPLY)) if dialect else {"detail": ""}
    assert answer.json().keys() == said.keys()
