"""text-embeddings-inference, as of 1.9.3: router/tests/test_http_rerank.rs and test_http_predict.rs, its OpenAPI
document, and router/src/http/server.rs for statuses."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx import AsyncClient as Client
from rerank_core.models.scoring import sigmoid

Serve = Callable[..., AbstractAsyncContextManager[Client]]

QUERY = "test"
TEXTS = ["test", "other", "test"]
PATHS = ["/rerank", "/tei/rerank", "/tei", "/tei/invocations", "/", "/invocations"]


@pytest.mark.parametrize("path", PATHS)
async def test_texts_are_ranked_and_come_back(client: Client, path: str) -> None:
    answer = await client.post(path, json={"query": QUERY, "texts": TEXTS, "return_text": True})

    ranks = answer.json()
    assert answer.status_code == 200
    assert [rank["text"] for rank in ranks] == ["test", "test", "other"]
    assert ranks[0]["score"] == ranks[1]["score"] > ranks[2]["score"]
    assert all(0 <= rank["score"] <= 1 for rank in ranks)


async def test_a_text_is_only_there_where_it_is_asked_for(client: Client) -> None:
    for fields in ({}, {"return_text": False}, {"return_text": None}):
        ranks = (await client.post("/tei/rerank", json={"query": QUERY, "texts": TEXTS} | fields)).json()
        assert all(rank.keys() == {"index", "score"} for rank in ranks)


async def test_raw_scores_are_those_before_the_sigmoid(client: Client) -> None:
    raw = (await client.post("/tei/rerank", json={"query": QUERY, "texts": TEXTS, "raw_scores": True})).json()
    scaled = (await client.post("/tei/rerank", json={"query": QUERY, "texts": TEXTS})).json()

    assert [sigmoid(rank["score"]) for rank in raw] == [rank["score"] for rank in scaled]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"query": QUERY, "texts": []}, 400, "Empty"),
        ({"query": QUERY}, 422, "Validation"),
        ({"query": QUERY, "texts": None}, 422, "Validation"),
        ({"query": QUERY, "texts": "test"}, 422, "Validation"),
        ({"query": QUERY, "texts": [1]}, 422, "Validation"),
        ({"texts": TEXTS}, 422, "Validation"),
        ({"query": [QUERY], "texts": TEXTS}, 422, "Validation"),
        ({"query": QUERY, "texts": ["test " * 100], "truncate": False}, 422, "Validation"),
        ({"query": QUERY, "texts": TEXTS, "truncation_direction": "up"}, 422, "Validation"),
        ({"query": QUERY, "texts": ["test"] * 1001}, 422, "Validation"),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_errors_have_its_statuses_and_kinds(client: Client, body: Any, status: int, kind: str) -> None:
    answer = await client.post("/tei/rerank", json=body)

    assert answer.status_code == status
    assert answer.json()["error_type"] == kind
    assert isinstance(answer.json()["error"], str)


@pytest.mark.parametrize(("content", "kind", "status"), [(b"{", "application/json", 400), (b"a=b", "text/csv", 415)])
async def test_a_body_that_is_no_json(client: Client, content: bytes, kind: str, status: int) -> None:
    answer = await client.post("/tei/rerank", content=content, headers={"content-type": kind})

    assert (answer.status_code, answer.json()["error_type"]) == (status, "Validation")


@pytest.mark.parametrize("direction", ["Left", "Right", "left", "right", None])
async def test_a_long_text_is_cut_on_the_side_that_is_asked_for(client: Client, direction: str | None) -> None:
    body = {"query": "last", "texts": ["x " * 80 + "last"], "truncation_direction": direction, "raw_scores": True}

    (rank,) = (await client.post("/tei/rerank", json=body)).json()

    assert (rank["score"] > 0) == (direction in ("Left", "left"))


async def test_info_says_that_it_is_a_reranker_and_how_much_it_takes(client: Client) -> None:
    info = (await client.get("/tei/info")).json()

    assert "reranker" in info["model_type"]
    assert info["max_input_length"] == 64
    assert {"model_id", "model_sha", "model_dtype", "max_concurrent_requests", "max_batch_tokens"} <= info.keys()
    assert {"max_client_batch_size", "auto_truncate", "tokenization_workers", "version", "sha"} <= info.keys()


@pytest.mark.parametrize("path", ["/health", "/ping", "/metrics", "/"])
async def test_probes_need_no_key(serve: Serve, path: str) -> None:
    async with serve(api_keys="secret") as client:
        assert (await client.get(f"/tei{path}")).status_code == 200
        assert (await client.post("/tei/rerank", json={"query": QUERY, "texts": TEXTS})).status_code == 401


async def test_an_answer_says_what_it_took_in_its_headers(client: Client) -> None:
    headers = (await client.post("/tei/rerank", json={"query": QUERY, "texts": TEXTS})).headers

    for name in ("compute-time", "compute-characters", "compute-tokens", "total-time", "queue-time", "inference-time"):
        assert headers[f"x-{name}"].isdigit()


async def test_differs_equals_keep_the_callers_order(client: Client) -> None:
    """There equals come in reverse order: its suite has index 2 before 0."""
    ranks = (await client.post("/tei/rerank", json={"query": QUERY, "texts": TEXTS})).json()

    assert [rank["index"] for rank in ranks] == [0, 2, 1]


@pytest.mark.parametrize("path", ["/predict", "/embed", "/embed_all", "/embed_sparse", "/tokenize", "/decode"])
async def test_differs_only_ranks_are_there(client: Client, path: str) -> None:
    """There ``/predict`` takes pairs, and the others are 424 for a reranker; ``/rerank/batch`` is what we have."""
    answer = await client.post(f"/tei{path}", json={"inputs": "a text"})

    assert (answer.status_code, answer.json()["error_type"]) == (404, "Validation")
    assert "/tei/rerank" in answer.json()["error"]
