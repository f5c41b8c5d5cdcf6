"""Documents whose scores are all 1.0 keep the order of their logits, in every dialect."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx import AsyncClient as Client
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import Calibration, ScoreOptions
from rerank_server.dialects.routing import ROUTES, ScoringRoute

Serve = Callable[..., AbstractAsyncContextManager[Client]]
Ready = Callable[..., Awaitable[None]]

QUERY = "where do pandas live and what do they eat"
TEXTS = ["pandas live", "pandas live and eat", "where do pandas live", "where do pandas live and eat", "pandas eat"]
MODEL = OverlapModel(calibration=Calibration(1000.0, 5000.0))


def indices(answer: Any) -> list[int]:
    found = answer if isinstance(answer, list) else answer.get("results") or answer.get("rankings") or answer["data"]
    return [result["index"] for result in found]


def ranking_routes() -> list[tuple[ScoringRoute, str]]:
    return [
        (route, dialect.name)
        for route in ROUTES
        for dialect in route.dialects
        if dialect.name not in ("one pair", "pairs", "vllm score")
    ]


@pytest.fixture(scope="module")
def order() -> list[int]:
    raw = OverlapModel().score(QUERY, TEXTS, ScoreOptions(raw=True)).values
    return sorted(range(len(TEXTS)), key=lambda index: -raw[index])


@pytest.fixture(scope="module")
async def client(serve: Serve, until_ready: Ready) -> AsyncIterator[Client]:
    async with serve(lambda _: MODEL) as client:
        await until_ready(client)
        yield client


@pytest.mark.parametrize(("route", "dialect"), ranking_routes(), ids=lambda value: getattr(value, "path", value))
async def test_they_are_ordered_by_the_logits(
    client: Client, order: list[int], route: ScoringRoute, dialect: str
) -> None:
    body: dict[str, Any] = {"query": QUERY, "documents": TEXTS}
    if dialect in ("tei", "llama.cpp texts"):
        body = {"query": QUERY, "texts": TEXTS}
    if dialect == "nim":
        body = {"query": {"text": QUERY}, "passages": [{"text": text} for text in TEXTS]}

    answer = (await client.post(route.path, json=body)).json()
    best = (await client.post(route.path, json=body | {"top_n": 2})).json()

    assert set(MODEL.score(QUERY, TEXTS).values) == {1.0}
    assert indices(answer) == order
    assert indices(best)[:2] == order[:2]
    if dialect not in ("tei", "nim"):  # these two have no such field
        assert len(indices(best)) == 2


@pytest.mark.parametrize("raw_scores", [None, False, True])
async def test_raw_scores_come_beside_where_they_are_asked_for(client: Client, raw_scores: bool | None) -> None:
    body = {"query": QUERY, "documents": TEXTS, "raw_scores": raw_scores}
    without = (await client.post("/v1/rerank", json=body)).json()["results"]
    beside = (await client.post("/v1/rerank", json=body | {"return_raw_scores": True})).json()["results"]

    raw = MODEL.score(QUERY, TEXTS, ScoreOptions(raw=True)).values
    assert [result.pop("raw_score") for result in beside] == sorted(raw, reverse=True)
    assert beside == without
