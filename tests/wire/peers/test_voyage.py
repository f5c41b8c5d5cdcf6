"""Voyage's SDK, as of 0.5.0: tests/test_client.py and test_client_async.py (rerank), and its table of statuses."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx import AsyncClient as Client

Serve = Callable[..., AbstractAsyncContextManager[Client]]

QUERY = "what does a panda eat"
TEXTS = ["a cat may eat fish", "a panda does eat bamboo", "stones"]
ALWAYS = {"model": "rerank-2.5", "truncation": True}  # the SDK sends these with each request, and top_k with a null


@pytest.mark.parametrize("base", ["/v1", "/voyage/v1"])
@pytest.mark.parametrize(("top_k", "count"), [(None, 3), (2, 2), (9, 3)])
async def test_the_best_come_first_and_each_index_names_its_document(
    client: Client, base: str, top_k: int | None, count: int
) -> None:
    body = {"query": QUERY, "documents": TEXTS, "top_k": top_k, "return_documents": True} | ALWAYS

    answer = (await client.post(f"{base}/rerank", json=body)).json()

    scores = [result["relevance_score"] for result in answer["data"]]
    assert len(scores) == count
    assert scores == sorted(scores, reverse=True)
    assert [result["document"] for result in answer["data"]] == [TEXTS[result["index"]] for result in answer["data"]]
    assert answer["usage"]["total_tokens"] > 0
    assert answer["model"] == "overlap"


@pytest.mark.parametrize("base", ["/v1", "/voyage/v1"])
async def test_a_long_document_is_cut_with_truncation_and_refused_without(client: Client, base: str) -> None:
    body = {"query": QUERY, "documents": ["panda " * 100], "top_k": None, "model": "any"}

    assert (await client.post(f"{base}/rerank", json=body | {"truncation": True})).status_code == 200
    refused = await client.post(f"{base}/rerank", json=body | {"truncation": False})
    assert refused.status_code == 400
    assert "the model reads 64" in refused.json()["detail"]


@pytest.mark.parametrize(
    "wrong",
    [{"model": "wrong-model-name"}, {"documents": TEXTS * 400}, {"documents": []}, {"top_k": -1}, {"query": None}],
    ids=lambda value: next(iter(value)),
)
async def test_what_is_wrong_is_400_with_a_detail(serve: Serve, wrong: dict[str, Any]) -> None:
    """Its SDK makes ``InvalidRequestError`` of 400, and of other statuses below 500 a bare error."""
    async with serve(strict_model=True) as client:
        body = {"query": QUERY, "documents": TEXTS, "top_k": None} | ALWAYS | {"model": "overlap"} | wrong
        answer = await client.post("/voyage/v1/rerank", json=body)

    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)


async def test_a_wrong_key_is_401_with_a_detail(serve: Serve) -> None:
    async with serve(api_keys="secret") as client:
        answer = await client.post("/voyage/v1/rerank", json={}, headers={"Authorization": "Bearer wrong"})

    assert (answer.status_code, answer.json().keys()) == (401, {"detail"})
