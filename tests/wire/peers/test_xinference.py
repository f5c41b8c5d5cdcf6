"""Xinference, as of 4.1: xinference/model/rerank/tests/test_rerank.py, and what its client reads."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx import AsyncClient as Client

Serve = Callable[..., AbstractAsyncContextManager[Client]]

QUERY = "a man is eating pasta"
TEXTS = ["a man is eating food", "a girl is carrying a baby", "a man is riding", "two men pushed carts"]


async def reranked(client: Client, **fields: Any) -> Any:
    body = {"model": "overlap", "query": QUERY, "documents": TEXTS} | fields
    answer = await client.post("/xinference/v1/rerank", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("base", ["", "/xinference"])
async def test_the_client_finds_the_model_and_its_type(client: Client, base: str) -> None:
    models = (await client.get(f"{base}/v1/models")).json()["data"]
    one = (await client.get(f"{base}/v1/models/{models[0]['id']}")).json()
    cluster = (await client.get(f"{base}/v1/cluster/auth")).json()

    assert len(models) == 1
    assert models[0]["model_type"] == one["model_type"] == "rerank"
    assert cluster == {"auth": False}


@pytest.mark.parametrize(("top_n", "count"), [(None, 4), (3, 3), (99, 4)])
async def test_the_best_come_first_with_their_texts(client: Client, top_n: int | None, count: int) -> None:
    results = (await reranked(client, top_n=top_n, return_documents=True))["results"]

    assert len(results) == count
    assert results[0]["index"] == 0
    assert results[0]["document"]["text"] == TEXTS[0]


async def test_a_document_is_null_where_it_is_not_asked_for(client: Client) -> None:
    assert [result["document"] for result in (await reranked(client))["results"]] == [None] * 4


async def test_a_long_document_takes_nothing_from_the_others(client: Client) -> None:
    texts = [*TEXTS[:-1], TEXTS[-1] * 50]

    results = (await reranked(client, documents=texts, top_n=3, return_documents=True))["results"]

    assert [result["index"] for result in results] == [
        result["index"] for result in (await reranked(client, top_n=3))["results"]
    ]
    assert results[0]["document"]["text"] == texts[0]


async def test_what_its_client_always_sends_is_taken(client: Client) -> None:
    sent = {"max_chunks_per_doc": None, "return_documents": "true", "return_len": "true", "top_n": None, "kwargs": "{}"}

    assert (await reranked(client, **sent))["results"] == (await reranked(client, return_documents=True))["results"]


@pytest.mark.parametrize("wrong", [{"documents": []}, {"query": None}, {"top_n": "x"}], ids=str)
async def test_an_error_is_a_sentence_in_detail(client: Client, wrong: dict[str, Any]) -> None:
    answer = await client.post("/xinference/v1/rerank", json={"query": QUERY, "documents": TEXTS} | wrong)

    assert answer.status_code == 400
    assert next(iter(wrong)) in answer.json()["detail"]


async def test_another_model_is_404_where_names_are_strict(serve: Serve) -> None:
    async with serve(strict_model=True) as client:
        answer = await client.get("/xinference/v1/models/another")

    assert (answer.status_code, answer.json().keys()) == (404, {"detail"})


async def test_differs_tokens_are_counted_whether_they_are_asked_for_or_not(client: Client) -> None:
    """There ``meta.tokens`` is null without ``return_len``, and output tokens are a copy of the input's."""
    for fields in ({}, {"return_len": True}):
        tokens = (await reranked(client, **fields))["meta"]["tokens"]
        assert tokens["input_tokens"] > 0
        assert tokens["output_tokens"] == 0


async def test_differs_unknown_arguments_of_the_model_are_ignored(client: Client) -> None:
    """There they reach the model's library, which fails."""
    assert (await reranked(client, kwargs='{"invalid": "invalid"}'))["results"] == (await reranked(client))["results"]
