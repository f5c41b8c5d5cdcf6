"""``/v1/rerank``: one query and many documents."""

from typing import Any

import pytest
from httpx import AsyncClient as Client
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import ScoreOptions

QUERY = "where do pandas live"
DOCUMENTS = ["Paris is a city", "pandas live in China", "pandas eat"]


async def test_documents_come_back_best_first_in_the_shape_of_the_hosted_apis(
    client: Client, model: OverlapModel
) -> None:
    values = model.score(QUERY, DOCUMENTS).values

    response = await client.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS, "model": "any"})

    body = response.json()
    assert response.status_code == 200
    assert body["results"] == [{"index": index, "relevance_score": values[index]} for index in (1, 2, 0)]
    assert (body["object"], body["model"]) == ("rerank", "overlap")
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] > 0
    assert body["usage"]["truncated"] == 0
    assert body["meta"]["tokens"] == {"input_tokens": body["usage"]["total_tokens"], "output_tokens": 0}


async def test_raw_scores_are_the_models_own(client: Client, model: OverlapModel) -> None:
    values = model.score(QUERY, DOCUMENTS, ScoreOptions(raw=True)).values

    response = await client.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS, "raw_scores": True})

    assert {result["index"]: result["relevance_score"] for result in response.json()["results"]} == dict(
        enumerate(values)
    )


@pytest.mark.parametrize(("top_n", "count"), [(1, 1), (2, 2), (99, 3), (0, 3), (None, 3), ("2", 2)])
async def test_top_n_says_how_many(client: Client, top_n: Any, count: int) -> None:
    response = await client.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS, "top_n": top_n})

    assert len(response.json()["results"]) == count


async def test_documents_are_returned_where_asked_for_and_may_be_objects(client: Client) -> None:
    documents = [DOCUMENTS[0], {"text": DOCUMENTS[1], "id": 7}]

    response = await client.post(
        "/v1/rerank", json={"query": QUERY, "documents": documents, "return_documents": "true"}
    )

    assert [result["document"] for result in response.json()["results"]] == [
        {"text": DOCUMENTS[1], "id": 7},
        {"text": DOCUMENTS[0]},
    ]


async def test_the_same_body_is_answered_at_rerank(client: Client) -> None:
    body = {"query": QUERY, "documents": DOCUMENTS}

    at_rerank = (await client.post("/rerank", json=body)).json()
    at_v1 = (await client.post("/v1/rerank", json=body)).json()

    assert at_rerank["results"] == at_v1["results"]


async def test_a_long_document_is_cut_unless_truncation_is_off(client: Client) -> None:
    body = {"query": QUERY, "documents": ["x", "word " * 100]}

    cut = await client.post("/v1/rerank", json=body)
    refused = await client.post("/v1/rerank", json=body | {"truncate": False})

    assert cut.json()["usage"]["truncated"] == 1
    assert refused.status_code == 400
    assert refused.json()["code"] == "input_too_long"
    assert "document 1 has 105 tokens" in refused.json()["message"]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"query": QUERY}, "documents", "documents is missing"),
        ({"documents": ["x"]}, "query", "query is missing"),
        ({"query": QUERY, "documents": None}, "documents", "documents is missing"),
        ({"query": QUERY, "documents": []}, "documents", "documents is empty"),
        ({"query": 7, "documents": ["x"]}, "query", "query: expected str"),
        ({"query": QUERY, "documents": ["x", 7]}, "documents[1]", "documents[1]: expected str"),
        ({"query": QUERY, "documents": [{"title": "x"}]}, "documents[0].text", "documents[0].text is missing"),
        ({"query": QUERY, "documents": [{"text": 7}]}, "documents[0].text", "documents[0].text: expected str"),
        ({"query": QUERY, "documents": ["x"], "top_n": -1}, "top_n", "top_n is -1"),
        (
            {"query": QUERY, "documents": ["x"], "top_n": 1, "top_k": 2},
            "top_n",
            "top_n is 1 and top_k 2: send",
        ),
        (
            {"query": QUERY, "documents": ["x"], "truncation_side": "up"},
            "truncation_side",
            "truncation_side: expected one of right, left",
        ),
        (
            {"query": QUERY, "documents": ["x"], "max_tokens_per_doc": -1},
            "max_tokens_per_doc",
            "max_tokens_per_doc is -1: use 1 or more",
        ),
        ({"query": QUERY, "documents": ["x"], "top_n": 1.5}, "top_n", "top_n: expected int, got float"),
        (
            {"query": QUERY, "docs": ["x"]},
            "documents",
            "documents is missing: the body has docs, which is not read here",
        ),
        (
            {"question": QUERY, "docs": ["x"], "top_n": 1},
            "query",
            "query is missing: the body has question, docs, which are not read here",
        ),
        (
            {"query": QUERY, "y" * 100: 1, "b": 1, "c": 1, "d": 1, "e": 1},
            "documents",
            "documents is missing: the body has b, c, d, which are not read here",
        ),
        ({"query": QUERY, "documents": ["x"], "highlight": "words"}, "highlight", "highlight: expected sentences"),
        (
            {"query": QUERY, "documents": ["x"], "highlight": True},
            "highlight",
            "highlight: expected sentences, got bool",
        ),
        (
            {"query": QUERY, "documents": ["x"], "highlight_top": 3},
            "highlight_top",
            "highlight_top is sent without highlight: send both",
        ),
        (
            {"query": QUERY, "documents": ["x"], "truncate_prompt_tokens": 65},
            "truncate_prompt_tokens",
            "65 tokens are asked for at once, the model reads 64",
        ),
        (
            {"query": QUERY, "documents": ["x"], "truncate_prompt_tokens": 4},
            "truncate_prompt_tokens",
            "4 tokens are asked for at once, of which 1 are special tokens",
        ),
        (
            {"query": QUERY, "documents": ["x"], "highlight_threshold": 0.5},
            "highlight_threshold",
            "highlight_threshold is sent without highlight: send both",
        ),
        ({"query": QUERY, "documents": ["x"], "highlight_top": 0}, "highlight_top", "highlight_top is 0: use 1 or"),
        (
            {"query": QUERY, "documents": ["x"], "highlight": "sentences", "highlight_top": -1},
            "highlight_top",
            "highlight_top is -1: use 1 or",
        ),
        (
            {"query": QUERY, "documents": ["x"], "long_documents": True},
            "long_documents",
            "long_documents: expected one of truncate, chunk, got bool",
        ),
        ({"query": QUERY, "documents": ["x"], "passage": "y"}, None, "the body has passage and documents"),
        ([], None, "the body is not as it should be"),
    ],
)
async def test_a_wrong_field_is_400_and_named_wherever_a_client_looks(
    client: Client, body: Any, param: str | None, message: str
) -> None:
    response = await client.post("/v1/rerank", json=body)

    error = response.json()
    assert response.status_code == 400
    assert message in error["message"]
    assert error["detail"] == error["message"] == error["error"]["message"]
    assert error["error"]["param"] == param
    assert error["code"] == "invalid_request"
    assert error["id"]


async def test_more_tokens_than_the_model_reads_are_refused_before_anything_is_tokenized(
    client: Client, model: OverlapModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries: list[str] = []
    encode = model.encode

    def noting(query: str, *arguments: Any) -> Any:
        queries.append(query)
        return encode(query, *arguments)

    monkeypatch.setattr(model, "encode", noting)
    for most, status in ((65, 400), (64, 200)):
        response = await client.post(
            "/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS, "truncate_prompt_tokens": most}
        )
        assert (response.status_code, queries) == (status, [QUERY] if status == 200 else [])


SURROGATE = "a string has a lone surrogate, half of a character: send whole characters"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"query": "x", "documents": [', "it ends too early"),
        (r'{"query": "\ud83d\ude00\ud83d', "it ends too early"),
        (r'{"query": "\ud800"}', SURROGATE),
        (r'{"query": "x", "documents": ["\\\ud83dx and more"]}', SURROGATE),
        (r'{"query": "\udc00"}', SURROGATE),
        (r'{"query": "\\ud800", "documents": [', "it ends too early"),
        ('{"query": "x", "documents": ["x"],}', "trailing comma in object (byte 34)"),
        ('{"query": "x", "documents": ["x"], "threshold": 1e999}', "number out of range"),
        ("query: x", "invalid character (byte 0)"),
    ],
    ids=[
        "cut",
        "cut in a character",
        "surrogate",
        "surrogate behind",
        "second half",
        "backslash",
        "comma",
        "number",
        "yaml",
    ],
)
async def test_what_is_wrong_with_json_is_said_once(client: Client, body: str, reason: str) -> None:
    response = await client.post("/v1/rerank", content=body, headers={"content-type": "application/json"})

    assert response.status_code == 400
    assert response.json()["message"] == f"the body is not JSON: {reason}"


async def test_an_error_repeats_no_text_that_stands_in_the_place_of_a_name(client: Client) -> None:
    response = await client.post("/v1/rerank", json={"query": QUERY, "a secret document": 1})

    assert response.json()["message"] == "documents is missing"


async def test_more_documents_than_a_request_may_have_are_413_with_the_limit(client: Client) -> None:
    response = await client.post("/v1/rerank", json={"query": QUERY, "documents": ["x"] * 1001})

    assert response.status_code == 413
    assert response.json()["code"] == "too_many_documents"
    assert "1001 documents, a request may have 1000" in response.json()["message"]


async def test_a_text_of_too_many_characters_is_named_where_it_may_not_be_cut(client: Client) -> None:
    body = {"query": QUERY, "documents": ["x", "y" * 100_001]}
    cut = await client.post("/v1/rerank", json=body)
    refused = await client.post("/v1/rerank", json=body | {"truncate": False})

    assert cut.status_code == 200
    assert refused.status_code == 400
    assert "document 1 has 100001 characters, a text that may not be cut may have 100000" in refused.json()["message"]
