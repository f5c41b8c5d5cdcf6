"""vLLM, as of 0.33: tests/entrypoints/pooling/scoring, test_cross_encoder_online.py, test_bi_encoder_online.py,
test_max_tokens_per_doc.py, test_protocol.py, test_utils.py; and vllm/renderers/params.py for truncation."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx import AsyncClient as Client
from rerank_core.models.scoring import sigmoid
from rerank_core.testing.doubles import OverlapModel

Serve = Callable[..., AbstractAsyncContextManager[Client]]

QUERIES = ["what is the capital of France", "what is the capital of Germany"]
DOCUMENTS = ["the capital of France is Paris", "the capital of Germany is Berlin"]
LONG = "the capital of France is Paris " * 20
SIDES = [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")]
PATHS = ["/rerank", "/v1/rerank", "/v2/rerank"]


def expected(*pairs: tuple[str, str]) -> list[float]:
    model = OverlapModel()
    return [model.score(query, [document]).values[0] for query, document in pairs]


async def reranked(client: Client, path: str = "/rerank", /, **fields: Any) -> Any:
    answer = await client.post(f"/vllm{path}", json={"query": QUERIES[0], "documents": DOCUMENTS} | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(client: Client, path: str = "/rerank", /, **fields: Any) -> str:
    answer = await client.post(f"/vllm{path}", json={"query": QUERIES[0], "documents": DOCUMENTS} | fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (400, 400, "BadRequestError"), answer.text
    return str(error["message"])


@pytest.mark.parametrize("path", ["/score", "/v1/score", "/invocations"])
@pytest.mark.parametrize(("left", "right"), SIDES)
async def test_scores_of_one_and_one_one_and_many_and_many_and_many(
    client: Client, path: str, left: str, right: str
) -> None:
    one_and_one = [(QUERIES[0], DOCUMENTS[0])]
    one_and_many = [(QUERIES[0], document) for document in DOCUMENTS]
    many_and_many = list(zip(QUERIES, DOCUMENTS, strict=True))
    cases: list[tuple[Any, Any, list[tuple[str, str]]]] = [
        (QUERIES[0], DOCUMENTS[0], one_and_one),
        (QUERIES[:1], DOCUMENTS[:1], one_and_one),
        (QUERIES[0], DOCUMENTS, one_and_many),
        (QUERIES, DOCUMENTS, many_and_many),
    ]
    for one, other, pairs in cases:
        answer = await client.post(f"/vllm{path}", json={"model": "any", left: one, right: other})

        body = answer.json()
        assert answer.status_code == 200
        assert [(item["index"], item["object"], item["score"]) for item in body["data"]] == [
            (index, "score", score) for index, score in enumerate(expected(*pairs))
        ]
        assert body["object"] == "list"
        assert body["id"]
        assert body["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (QUERIES, DOCUMENTS[:1], "send one, or as many"),
        ([], DOCUMENTS, "queries is empty"),
        (QUERIES, [], "documents is empty"),
        ({"content": []}, DOCUMENTS, "queries.content is empty"),
        (QUERIES[0], [{"content": [{"type": "image_url", "image_url": {"url": "data:"}}]}], "is not text"),
    ],
    ids=["many and one", "no left", "no right", "no parts", "an image"],
)
async def test_sides_that_do_not_make_pairs_are_refused(client: Client, one: Any, other: Any, message: str) -> None:
    answer = await client.post("/vllm/score", json={"queries": one, "documents": other})

    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", PATHS)
async def test_documents_are_ranked_and_come_back(client: Client, path: str) -> None:
    body = await reranked(client, path, documents=DOCUMENTS[::-1])

    assert [result["index"] for result in body["results"]] == [1, 0]
    assert [result["document"]["text"] for result in body["results"]] == DOCUMENTS
    assert body["results"][0]["relevance_score"] >= body["results"][1]["relevance_score"]
    assert body["id"]


@pytest.mark.parametrize(("top_n", "count"), [(0, 3), (1, 1), (2, 2), (3, 3), (9, 3)])
async def test_top_n(client: Client, top_n: int, count: int) -> None:
    body = await reranked(client, documents=[*DOCUMENTS, "neat models"], top_n=top_n)

    assert len(body["results"]) == count
    assert body["results"][0]["index"] == 0


async def test_a_negative_top_n_is_refused(client: Client) -> None:
    assert "top_n is -1" in await refused(client, top_n=-1)


async def test_a_string_and_parts_of_text_are_documents(client: Client) -> None:
    one = await reranked(client, documents=DOCUMENTS[0])
    parts = await reranked(client, documents={"content": [{"type": "text", "text": DOCUMENTS[0]}]})

    assert one["results"] == parts["results"]


async def test_truncate_prompt_tokens_up_to_what_the_model_reads(client: Client) -> None:
    whole = await reranked(client, documents=[LONG])
    for size, tokens in [(64, 64), (50, 50), (10, 10), (-1, 64), (None, 64), (0, 64)]:
        body = await reranked(client, documents=[LONG], truncate_prompt_tokens=size)
        assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] == tokens
        assert body["usage"]["truncated"] == 1
        if tokens == 64:
            assert body["results"] == whole["results"]


@pytest.mark.parametrize("path", ["/rerank", "/score", "/invocations"])
async def test_truncate_prompt_tokens_beyond_that_is_refused_with_the_numbers(client: Client, path: str) -> None:
    fields = {"query": None, "queries": QUERIES[0]} if path == "/score" else {}

    assert "65 tokens are asked for at once, the model reads 64" in await refused(
        client, path, truncate_prompt_tokens=65, **fields
    )
    assert "truncate_prompt_tokens is -2" in await refused(client, path, truncate_prompt_tokens=-2, **fields)


async def test_a_pair_that_is_known_to_the_cache_is_known_by_its_truncation_too(serve: Serve) -> None:
    async with serve(cache_mb=1) as client:
        for size in (64, 10, 64, 10, None):
            body = await reranked(client, documents=[LONG], truncate_prompt_tokens=size)
            assert body["usage"]["prompt_tokens"] == (size or 64)


async def test_the_side_that_is_cut(client: Client) -> None:
    documents = ["France " + "x " * 30 + "Germany"]
    right = await reranked(client, query="France", documents=documents, truncate_prompt_tokens=10)
    left = await reranked(
        client, query="Germany", documents=documents, truncate_prompt_tokens=10, truncation_side="left"
    )
    lost = await reranked(client, query="Germany", documents=documents, truncate_prompt_tokens=10)

    assert right["results"][0]["relevance_score"] == left["results"][0]["relevance_score"]
    assert left["results"][0]["relevance_score"] > lost["results"][0]["relevance_score"]
    assert "truncation_side" in await refused(client, truncation_side="middle")


async def test_max_tokens_per_doc_and_per_query_leave_fewer_tokens(client: Client) -> None:
    whole = (await reranked(client, documents=[LONG]))["usage"]["prompt_tokens"]
    document = (await reranked(client, documents=[LONG], max_tokens_per_doc=10))["usage"]["prompt_tokens"]
    both = (await reranked(client, documents=[LONG], max_tokens_per_doc=10, max_tokens_per_query=2))["usage"]

    assert whole > document == len(QUERIES[0].split()) + 1 + 10
    assert both["prompt_tokens"] == 2 + 1 + 10
    for name in ("max_tokens_per_doc", "max_tokens_per_query"):
        below: dict[str, Any] = {name: -1}
        none: dict[str, Any] = {name: 0}
        assert f"{name} is -1" in await refused(client, **below)
        assert (await reranked(client, **none))["results"] == (await reranked(client))["results"]


async def test_use_activation_is_the_sigmoid_and_the_default(client: Client) -> None:
    default, scaled, raw = [
        [result["relevance_score"] for result in (await reranked(client, use_activation=use))["results"]]
        for use in (None, True, False)
    ]

    assert default == scaled == [sigmoid(value) for value in raw] != raw


async def test_invocations_answers_as_rerank_does(client: Client) -> None:
    body, other = await reranked(client), await reranked(client, "/invocations")

    assert body.keys() == other.keys()
    assert body["results"] == other["results"]


async def test_the_model_is_listed_with_its_length(client: Client) -> None:
    (model,) = (await client.get("/vllm/v1/models")).json()["data"]

    assert (model["id"], model["object"], model["owned_by"]) == ("overlap", "model", "vllm")
    assert (model["root"], model["max_model_len"]) == ("overlap", 64)


async def test_another_model_is_404_where_names_are_strict(serve: Serve) -> None:
    async with serve(strict_model=True) as client:
        answer = await client.post("/vllm/score", json={"model": "x", "text_1": "a", "text_2": "b"})

    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "NotFoundError")


async def test_what_else_its_clients_send_is_taken(client: Client) -> None:
    fields: dict[str, Any] = {
        "user": "u",
        "priority": 0,
        "request_id": "r",
        "mm_processor_kwargs": {},
        "cache_salt": None,
    }

    assert (await reranked(client, **fields))["results"] == (await reranked(client))["results"]


async def test_differs_a_text_that_is_too_long_is_cut_unless_asked_otherwise(client: Client) -> None:
    """There it is 400 unless ``truncate_prompt_tokens`` is sent. Here ``usage`` says that something was cut."""
    body = await reranked(client, query=QUERIES[0] * 100)

    assert body["usage"]["truncated"] == 2
    assert "the model reads 64" in await refused(client, documents=[LONG], truncate=False)


async def test_differs_a_cap_beyond_what_the_model_reads_caps_nothing(client: Client) -> None:
    """There ``max_tokens_per_doc`` of the model's length or more is 400, though it asks for nothing impossible."""
    assert (await reranked(client, max_tokens_per_doc=64))["results"] == (await reranked(client))["results"]


async def test_differs_null_is_as_good_as_nothing(client: Client) -> None:
    """There ``top_n: null`` is 400; most of the other clients send nulls."""
    assert (await reranked(client, top_n=None))["results"] == (await reranked(client, top_n=0))["results"]


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize", "/pooling", "/classify", "/v1/embeddings", "/embed"])
async def test_differs_only_scores_are_there(client: Client, path: str) -> None:
    """There one server does all that its model can."""
    answer = await client.post(f"/vllm{path}", json={"model": "any", "prompt": "a text", "input": "a text"})

    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "NotFoundError")
    assert "/vllm/score" in answer.json()["error"]["message"]


async def test_differs_keys_are_asked_for_at_every_path_that_scores(serve: Serve) -> None:
    """There ``/rerank`` and ``/score`` stay open with ``--api-key``, and only what is below ``/v1`` is closed."""
    async with serve(api_keys="secret") as client:
        for path in (*PATHS, "/score", "/v1/score", "/invocations"):
            answer = await client.post(f"/vllm{path}", json={})
            assert (answer.status_code, answer.json()["error"]["type"]) == (401, "AuthenticationError")
