"""Jina's API as its clients read it: LlamaIndex's JinaRerank 0.6.0, LangChain's JinaRerank 0.4.2, Haystack's JinaRanker
2.0.1 and the tests of each; SiliconFlow's is the same."""

from typing import Any

import pytest
from httpx import AsyncClient as Client

QUERY = "what does a panda eat"
TEXTS = ["a cat may eat fish", "a panda does eat bamboo", "stones"]
BASES = ["", "/jina", "/siliconflow"]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("top_n", "count"), [(None, 3), (2, 2), (99, 3)])
async def test_results_model_and_usage_are_there(client: Client, base: str, top_n: int | None, count: int) -> None:
    sent = {"model": "jina-reranker-v1-base-en", "query": QUERY, "documents": TEXTS, "top_n": top_n}

    body = (await client.post(f"{base}/v1/rerank", json=sent)).json()

    assert [result["index"] for result in body["results"]] == [1, 0, 2][:count]
    assert body["model"] == "overlap"
    assert body["usage"]["total_tokens"] > 0
    assert all("document" not in result for result in body["results"])


@pytest.mark.parametrize("base", BASES)
async def test_documents_come_back_as_objects_with_a_text(client: Client, base: str) -> None:
    sent = {"query": QUERY, "documents": [{"text": text} for text in TEXTS], "return_documents": True}

    results = (await client.post(f"{base}/v1/rerank", json=sent)).json()["results"]

    assert [result["document"]["text"] for result in results] == [TEXTS[result["index"]] for result in results]


async def test_siliconflows_windows(client: Client) -> None:
    sent = {"query": QUERY, "documents": ["x " * 90 + TEXTS[1]], "max_chunks_per_doc": 1024, "overlap_tokens": 10}

    (whole,) = (await client.post("/siliconflow/v1/rerank", json=sent)).json()["results"]
    (first,) = (await client.post("/siliconflow/v1/rerank", json=sent | {"max_chunks_per_doc": 1})).json()["results"]

    assert whole["relevance_score"] > first["relevance_score"]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("wrong", [{"documents": []}, {"query": 7}, {"top_n": -1}], ids=str)
async def test_an_error_has_a_detail(client: Client, base: str, wrong: dict[str, Any]) -> None:
    answer = await client.post(f"{base}/v1/rerank", json={"query": QUERY, "documents": TEXTS} | wrong)

    assert answer.status_code == 400
    assert next(iter(wrong)) in answer.json()["detail"]


async def test_differs_images_are_refused(client: Client) -> None:
    """There some models read them; here an object without a text is named as what it is."""
    answer = await client.post("/jina/v1/rerank", json={"query": QUERY, "documents": [{"image": "https://x/y.png"}]})

    assert answer.status_code == 400
    assert "documents[0].text is missing" in answer.json()["detail"]
