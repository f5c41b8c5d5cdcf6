"""Infinity, as of 0.0.78: libs/infinity_emb/tests/end_to_end, test_torch_reranker.py, test_api_with_dummymodel.py,
test_authentication.py; and what infinity_client reads."""

import itertools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx import AsyncClient as Client
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import ScoreOptions

Serve = Callable[..., AbstractAsyncContextManager[Client]]

QUERY = "where is the Eiffel Tower"
BEST = "the Eiffel Tower is where Paris is"
TEXTS = ["my favorite dish is a hamburger", "the Eiffel Tower stands", BEST]


@pytest.mark.parametrize("path", ["/infinity/models", "/infinity/v1/models"])
async def test_the_model_is_listed_as_its_client_reads_it(client: Client, path: str) -> None:
    body = (await client.get(path)).json()

    (model,) = body["data"]
    assert body["object"] == "list"
    assert model["id"] == "overlap"
    assert (model["owned_by"], model["object"]) == ("infinity", "model")
    assert isinstance(model["stats"], dict)
    assert isinstance(model["created"], int)
    assert isinstance(model["backend"], str)
    assert model["capabilities"] == ["rerank"]


@pytest.mark.parametrize("path", ["/models", "/v1/models"])
async def test_the_same_is_at_the_root_where_the_model_is_our_own(client: Client, path: str) -> None:
    (model,) = (await client.get(path)).json()["data"]

    assert isinstance(model["stats"], dict)
    assert model["owned_by"] == "rerank"


async def test_stats_say_how_much_waits(serve: Serve) -> None:
    async with serve(max_queue_pairs=1000) as client:
        (model,) = (await client.get("/infinity/models")).json()["data"]

    assert model["stats"] == {"queue_absolute": 0, "queue_fraction": 0.0}


async def test_scores_are_those_of_the_model(client: Client) -> None:
    answer = await client.post("/infinity/rerank", json={"model": "any", "query": QUERY, "documents": TEXTS})

    body = answer.json()
    scores = {result["index"]: result["relevance_score"] for result in body["results"]}
    assert scores == dict(enumerate(OverlapModel().score(QUERY, TEXTS).values))
    assert (body["object"], body["model"]) == ("rerank", "overlap")
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("return_documents", [True, False])
@pytest.mark.parametrize("top_n", [1, 2, 8000])
async def test_the_best_comes_first_in_whatever_order_documents_come(
    client: Client, top_n: int, return_documents: bool
) -> None:
    for texts in itertools.permutations(TEXTS):
        answer = await client.post(
            "/infinity/rerank",
            json={"query": QUERY, "documents": texts, "top_n": top_n, "return_documents": return_documents},
        )

        results = answer.json()["results"]
        assert len(results) == min(top_n, len(texts))
        assert results[0]["index"] == texts.index(BEST)
        assert results[0]["document"] == (BEST if return_documents else None)


@pytest.mark.parametrize("raw_scores", [True, False])
async def test_raw_scores(client: Client, raw_scores: bool) -> None:
    body = {"query": QUERY, "documents": TEXTS, "raw_scores": raw_scores}

    results = (await client.post("/infinity/rerank", json=body)).json()["results"]

    values = OverlapModel().score(QUERY, TEXTS, ScoreOptions(raw=raw_scores)).values
    assert [result["relevance_score"] for result in results] == sorted(values, reverse=True)


@pytest.mark.parametrize(
    "wrong",
    [{"top_n": -1}, {"documents": []}, {"documents": None}, {"query": None}, {"query": 7}, {"documents": [[]]}],
    ids=str,
)
async def test_a_wrong_field_is_422_as_fastapi_has_it(client: Client, wrong: dict[str, Any]) -> None:
    answer = await client.post("/infinity/rerank", json={"query": QUERY, "documents": TEXTS} | wrong)

    assert answer.status_code == 422
    (error,) = answer.json()["detail"]
    assert error.keys() == {"loc", "msg", "type"}
    assert error["loc"][0] == "body"
    assert error["loc"][1].startswith(next(iter(wrong)))


@pytest.mark.parametrize("is_authenticated", [True, False])
async def test_models_and_scores_need_the_key(serve: Serve, is_authenticated: bool) -> None:
    headers = {"Authorization": "Bearer dummy-password"} if is_authenticated else {}
    async with serve(api_keys="dummy-password") as client:
        models = await client.get("/infinity/models", headers=headers)
        scores = await client.post("/infinity/rerank", json={"query": "a", "documents": ["b"]}, headers=headers)

    assert models.status_code == scores.status_code == (200 if is_authenticated else 401)
    if not is_authenticated:
        assert isinstance(models.json()["detail"], str)


async def test_health_is_200_with_an_object(client: Client) -> None:
    answer = await client.get("/infinity/health")

    assert answer.status_code == 200
    assert isinstance(answer.json(), dict)


@pytest.mark.parametrize("path", ["/embeddings", "/classify"])
async def test_differs_what_a_reranker_cannot_do_is_404(client: Client, path: str) -> None:
    """There it is 400 about the model; here no model can do it."""
    answer = await client.post(f"/infinity{path}", json={"model": "any", "input": TEXTS})

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


async def test_differs_top_n_of_0_is_all(client: Client) -> None:
    """There it is 422; vLLM's clients send it for "no limit"."""
    answer = await client.post("/infinity/rerank", json={"query": QUERY, "documents": TEXTS, "top_n": 0})

    assert len(answer.json()["results"]) == len(TEXTS)


async def test_differs_health_is_503_while_nothing_can_be_scored(serve: Serve) -> None:
    """There it is 200 with the time, also with a dead worker."""
    async with serve() as client:
        assert "unix" not in (await client.get("/infinity/health")).json()
        assert (await client.get("/infinity/health")).json()["status"] == "healthy"
