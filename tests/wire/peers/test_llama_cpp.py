"""llama.cpp, as of 2026-11: tools/server/tests/unit/test_rerank.py, and its server's handler of /rerank."""

from typing import Any

import pytest
from httpx import AsyncClient as Client
from rerank_core.models.scoring import sigmoid

QUERY = "learning by machine is"
TEXTS = [
    "A machine uses power to apply forces.",
    "Learning is done by humans and by some animals.",
    "Learning by machine is a field of study.",
    "Paris, capitale de la France, est une ville.",
]
PATHS = ["/rerank", "/reranking", "/v1/rerank", "/v1/reranking"]


@pytest.mark.parametrize("path", PATHS)
async def test_documents_are_ranked_with_the_best_first_and_the_worst_last(client: Client, path: str) -> None:
    answer = await client.post(f"/llamacpp{path}", json={"query": QUERY, "documents": TEXTS})

    results = answer.json()["results"]
    scores = [result["relevance_score"] for result in results]
    assert answer.status_code == 200
    assert {result["index"] for result in results} == set(range(len(TEXTS)))
    assert (results[0]["index"], results[-1]["index"]) == (2, 3)
    assert scores == sorted(scores, reverse=True)
    assert results[0].keys() == {"index", "relevance_score"}
    assert answer.json().keys() == {"model", "object", "usage", "results"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("return_text", [None, False, True])
async def test_texts_are_ranked_in_the_format_of_text_embeddings_inference(
    client: Client, path: str, return_text: bool | None
) -> None:
    answer = await client.post(f"/llamacpp{path}", json={"query": QUERY, "texts": TEXTS, "return_text": return_text})

    results = answer.json()
    assert (results[0]["index"], results[-1]["index"]) == (2, 3)
    for result in results:
        assert result.get("text") == (TEXTS[result["index"]] if return_text else None)
        assert result.keys() == {"index", "score"} | ({"text"} if return_text else set())


async def test_scores_are_logits(client: Client) -> None:
    raw = (await client.post("/llamacpp/rerank", json={"query": QUERY, "texts": TEXTS})).json()
    scaled = (await client.post("/tei/rerank", json={"query": QUERY, "texts": TEXTS})).json()

    assert [sigmoid(result["score"]) for result in raw] == [result["score"] for result in scaled]


@pytest.mark.parametrize("documents", [[], None, 123, [1, 2, 3], "MISSING"], ids=str)
@pytest.mark.parametrize("key", ["documents", "texts"])
async def test_what_is_no_list_of_texts_is_400(client: Client, key: str, documents: Any) -> None:
    body = {"query": QUERY} | ({} if documents == "MISSING" else {key: documents})

    answer = await client.post("/llamacpp/rerank", json=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["code"] == 400


@pytest.mark.parametrize("query", [None, 7, [QUERY]], ids=str)
async def test_what_is_no_query_is_400(client: Client, query: Any) -> None:
    answer = await client.post("/llamacpp/rerank", json={"query": query, "documents": TEXTS})

    assert answer.status_code == 400
    assert "query" in answer.json()["error"]["message"]


@pytest.mark.parametrize("documents", [["a machine", "learning is"], ["a", "by the way of the world"]], ids=str)
async def test_usage_counts_the_tokens_of_all_pairs(client: Client, documents: list[str]) -> None:
    answer = await client.post("/llamacpp/rerank", json={"query": QUERY, "documents": documents})

    usage = answer.json()["usage"]
    of_pairs = [len(QUERY.split()) + 1 + len(document.split()) for document in documents]  # 1: the double's separator
    assert usage["prompt_tokens"] == usage["total_tokens"] == sum(of_pairs)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("top_n", "count"), [(None, 4), (2, 2), (4, 4), (99, 4)])
@pytest.mark.parametrize("key", ["documents", "texts"])
async def test_top_n_says_how_many_come_back(
    client: Client, path: str, key: str, top_n: int | None, count: int
) -> None:
    body = {"query": QUERY, key: TEXTS} | ({} if top_n is None else {"top_n": top_n})

    answer = (await client.post(f"/llamacpp{path}", json=body)).json()

    results = answer if key == "texts" else answer["results"]
    assert [result["index"] for result in results] == [2, 1, 0, 3][:count]


@pytest.mark.parametrize("path", ["/embeddings", "/v1/embeddings", "/completion", "/tokenize", "/infill"])
async def test_differs_what_a_reranker_cannot_do_is_404_and_says_what_it_can(client: Client, path: str) -> None:
    """There it is 400 or 501, by a server that can do it with another model; here the path does not exist."""
    answer = await client.post(f"/llamacpp{path}", json={"input": "hello"})

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == 404
    assert "rerank" in answer.json()["error"]["message"]


@pytest.mark.parametrize("key", ["documents", "texts"])
async def test_differs_top_n_of_0_is_all_and_less_is_refused(client: Client, key: str) -> None:
    """There 0 gives an empty list: a client that sends 0 for "no limit", as vLLM's do, would lose all documents."""
    body = {"query": QUERY, key: TEXTS}

    everything = (await client.post("/llamacpp/rerank", json=body | {"top_n": 0})).json()
    refused = await client.post("/llamacpp/rerank", json=body | {"top_n": -1})

    assert len(everything if key == "texts" else everything["results"]) == 4
    assert refused.status_code == 400


async def test_differs_documents_beside_texts_are_refused(client: Client) -> None:
    """There ``documents`` are scored and answered in the format of ``texts``: it would be a guess which is meant."""
    answer = await client.post("/llamacpp/rerank", json={"query": QUERY, "documents": TEXTS, "texts": TEXTS})

    assert answer.status_code == 400
    assert "documents and texts" in answer.json()["error"]["message"]


async def test_differs_a_document_that_is_too_long_is_cut(client: Client) -> None:
    """There it is an error 500 about a physical batch size; here ``truncate: false`` refuses it."""
    body = {"query": QUERY, "documents": ["machine " * 100]}

    assert (await client.post("/llamacpp/rerank", json=body)).status_code == 200
    assert (await client.post("/llamacpp/rerank", json=body | {"truncate": False})).status_code == 400
