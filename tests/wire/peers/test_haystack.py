"""Haystack, as of 3.4 with huggingface-api-haystack 3.1, jina-haystack 2.0 and cohere-haystack 11.0:
test/components/rankers/test_hugging_face_tei.py, test_sentence_transformers_similarity.py, and the requests that its
rankers send."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import rerank_core
from httpx import AsyncClient as Client
from rerank_core import ScoreOptions
from rerank_core.testing.doubles import OverlapModel

Serve = Callable[..., AbstractAsyncContextManager[Client]]

QUERY = "city in Germany"
TEXTS = ["a document", "Berlin is a city in Germany", "a city"]


async def test_the_ranker_of_text_embeddings_inference_finds_an_index_and_a_score_for_each(client: Client) -> None:
    """It drops the path of its URL and asks at /rerank; it cuts to ``top_k`` itself."""
    sent = {"query": QUERY, "texts": TEXTS, "raw_scores": False}

    body = (await client.post("/rerank", json=sent)).json()

    assert isinstance(body, list)
    assert [rank["index"] for rank in body] == [1, 2, 0]
    assert all(isinstance(rank["score"], float) for rank in body)


@pytest.mark.parametrize(("direction", "is_kept"), [("Left", True), ("Right", False)])
async def test_its_truncation_direction(client: Client, direction: str, is_kept: bool) -> None:
    sent = {"query": "last", "texts": ["x " * 90 + "last"], "raw_scores": True}

    (rank,) = (await client.post("/rerank", json=sent | {"truncate": True, "truncation_direction": direction})).json()

    assert (rank["score"] > 0) is is_kept


async def test_it_finds_the_error_and_its_kind(client: Client) -> None:
    body = (await client.post("/rerank", json={"query": QUERY, "texts": []})).json()

    assert (body["error_type"], isinstance(body["error"], str)) == ("Empty", True)


async def test_what_it_tries_again_is_what_may_be_tried_again(serve: Serve) -> None:
    """It tries 408, 418, 429 and 503 again, and no other: too large a request is none of these."""
    async with serve(max_documents=2, max_queue_pairs=2) as client:
        answer = await client.post("/rerank", json={"query": QUERY, "texts": TEXTS})

    assert answer.status_code == 422


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
async def test_the_rankers_of_jina_and_cohere_find_model_usage_and_results(client: Client, path: str) -> None:
    sent: dict[str, Any] = {"model": "m", "query": QUERY, "documents": TEXTS, "top_n": 2, "max_tokens_per_doc": 4096}

    body = (await client.post(path, json=sent)).json()

    assert [result["index"] for result in body["results"]] == [1, 2]
    assert body["model"]
    assert body["usage"]


def test_scale_score_and_score_threshold_have_their_like() -> None:
    model = OverlapModel()
    raw = rerank_core.rerank(model, QUERY, TEXTS, options=ScoreOptions(raw=True))

    assert [document.score for document in raw] == sorted(
        model.score(QUERY, TEXTS, ScoreOptions(raw=True)).values, reverse=True
    )
    assert [document.index for document in rerank_core.rerank(model, QUERY, TEXTS, threshold=0.5)] == [1, 2]
    assert rerank_core.rerank(model, QUERY, []) == []


@pytest.mark.parametrize("top_n", [0, -1])
def test_a_number_of_the_best_below_1_is_a_value_error(top_n: int) -> None:
    with pytest.raises(ValueError, match=f"top_n is {top_n}"):
        rerank_core.rerank(OverlapModel(), QUERY, TEXTS, top_n=top_n)


async def test_differs_equal_documents_are_not_made_one(client: Client) -> None:
    """Its rankers drop documents of one id before they ask; we score what comes, each with its own index."""
    body = (await client.post("/rerank", json={"query": QUERY, "texts": [TEXTS[1], TEXTS[1]]})).json()

    assert [rank["index"] for rank in body] == [0, 1]
    assert body[0]["score"] == body[1]["score"]
