"""Cohere's SDK, as of 7.3.1: tests/test_client.py and tests/test_client_v2.py (rerank), and its table of errors."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx import AsyncClient as Client

Serve = Callable[..., AbstractAsyncContextManager[Client]]

QUERY = "what is the capital of the United States"
TEXTS = [
    "Carson City is a city of Nevada",
    "the capital of the Northern Mariana Islands is Saipan",
    "Washington is the capital of the United States",
    "capital punishment is older than the United States",
]
BASES = ["", "/cohere"]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
async def test_strings_are_ranked(client: Client, base: str, path: str) -> None:
    sent = {"model": "rerank-v3.5", "query": QUERY, "documents": TEXTS, "top_n": 3}

    body = (await client.post(f"{base}{path}", json=sent)).json()

    assert body["results"][0]["index"] == 2
    assert len(body["results"]) == 3
    assert body["id"]
    assert body["meta"]["api_version"]["version"] == (path[2] if base else "2")
    assert body["meta"]["billed_units"]["search_units"] >= 1
    assert all("document" not in result for result in body["results"])


@pytest.mark.parametrize("base", BASES)
async def test_version_1_takes_objects_and_returns_them_whole(client: Client, base: str) -> None:
    documents = [{"text": text, "id": str(index)} for index, text in enumerate(TEXTS)]
    sent = {"query": QUERY, "documents": documents, "return_documents": True, "max_chunks_per_doc": None}

    results = (await client.post(f"{base}/v1/rerank", json=sent)).json()["results"]

    assert [result["document"] for result in results] == [documents[result["index"]] for result in results]


@pytest.mark.parametrize("base", BASES)
async def test_rank_fields_say_what_is_read(client: Client, base: str) -> None:
    documents = [{"title": text, "body": "x"} for text in TEXTS]

    by_title, by_body = [
        (await client.post(f"{base}/v1/rerank", json={"query": QUERY, "documents": documents, "rank_fields": [name]}))
        for name in ("title", "body")
    ]

    assert by_title.json()["results"][0]["index"] == 2
    assert len({result["relevance_score"] for result in by_body.json()["results"]}) == 1


async def test_max_tokens_per_doc_cuts_documents(client: Client) -> None:
    sent = {"query": QUERY, "documents": [TEXTS[2]], "max_tokens_per_doc": 1}

    tokens = (await client.post("/cohere/v2/rerank", json=sent)).json()["meta"]["tokens"]["input_tokens"]

    assert tokens == len(QUERY.split()) + 1 + 1


async def test_spans_say_which_part_is_relevant(client: Client) -> None:
    long = "x " * 60 + TEXTS[2] + " x" * 60
    sent = {
        "query": QUERY,
        "documents": [long],
        "relevant_spans": {"mode": "enabled", "threshold": 0.1, "max_spans": 1},
    }

    (result,) = (await client.post("/cohere/v2/rerank", json=sent)).json()["results"]

    (span,) = result["relevant_spans"]
    assert "Washington" in long[span["start"] : span["end"]]
    assert span["score"] == result["relevance_score"]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [({"documents": []}, "documents"), ({"query": None}, "query"), ({"top_n": -1}, "top_n"), ({"top_n": "x"}, "top_n")],
    ids=str,
)
@pytest.mark.parametrize("base", BASES)
async def test_a_wrong_request_is_400_with_a_message(
    client: Client, base: str, wrong: dict[str, Any], word: str
) -> None:
    answer = await client.post(f"{base}/v2/rerank", json={"query": QUERY, "documents": TEXTS} | wrong)

    assert answer.status_code == 400
    assert word in answer.json()["message"]


async def test_errors_are_json_so_that_the_sdk_finds_its_class(serve: Serve) -> None:
    """An error body that is not JSON becomes a bare ``ApiError`` there."""
    async with serve(api_keys="secret", strict_model=True, max_documents=1) as client:
        headers = {"Authorization": "Bearer secret"}
        answers = {
            401: await client.post("/cohere/v2/rerank", json={}),
            404: await client.post(
                "/cohere/v2/rerank", json={"model": "x", "query": "a", "documents": ["b"]}, headers=headers
            ),
            413: await client.post(
                "/cohere/v2/rerank", json={"model": "overlap", "query": "a", "documents": ["b", "c"]}, headers=headers
            ),
        }

    for status, answer in answers.items():
        assert answer.status_code == status
        assert answer.json().keys() == {"id", "message"}


async def test_differs_unknown_fields_are_ignored(client: Client) -> None:
    """There ``top_k`` is refused as an unknown field; here it is another name of ``top_n``."""
    body = {"query": QUERY, "documents": TEXTS, "top_k": 1, "priority": 0, "unknown": True}

    assert len((await client.post("/cohere/v2/rerank", json=body)).json()["results"]) == 1
