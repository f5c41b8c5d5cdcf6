"""Which dialect a caller meant, by the keys of its body, and who complains about what is missing."""

import json
from typing import Any

import pytest
from httpx import AsyncClient as Client
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.errors import InvalidRequest
from rerank_server.dialects.routing import ROUTES, ROUTES_BY_PATH

QUERY = "where do pandas live"
TEXTS = ["Paris is a city", "pandas live in China"]
SIDES = [("text_1", "text_2"), ("data_1", "data_2"), ("queries", "items"), ("queries", "documents")]
SHARED = ["/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking", "/", "/invocations"]


@pytest.mark.parametrize("path", SHARED)
@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"query": QUERY, "documents": None}, "documents is missing"),
        ({"documents": None}, "query is missing"),
        ({"query": QUERY, "documents": []}, "documents is empty"),
        ({"query": QUERY, "documents": {}}, "documents is empty"),
        ({"query": QUERY, "documents": 7}, "documents: expected"),
        ({"query": None, "documents": TEXTS}, "query is missing"),
        ({"query": [QUERY], "documents": TEXTS}, "query: expected"),
        ({"query": QUERY, "top_n": 2}, "documents is missing"),
        ({"query": QUERY, "return_documents": True, "model": "any"}, "documents is missing"),
        ({"query": QUERY, "documents": None, "texts": None, "top_n": 1}, "documents is missing"),
        ({"query": QUERY, "passage": None, "documents": TEXTS, "top_n": "many"}, "top_n: expected int"),
        ({"query": QUERY, "texts": None}, "texts is missing"),
        ({"query": QUERY, "texts": []}, "texts is empty"),
        ({"query": QUERY, "texts": "a text"}, "texts: expected"),
        ({"query": {"text": QUERY}, "passages": None}, "passages is missing"),
        ({"query": {"text": QUERY}, "passages": []}, "passages is empty"),
        ({"query": QUERY, "passages": ["x"]}, "query: expected object, got str: send an object with a text"),
        (
            {"query": {"text": QUERY}, "passages": ["x"]},
            "passages[0]: expected object, got str: send an object with a text",
        ),
        ({"query": 7, "passages": ["x"]}, "query: expected object, got int"),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
async def test_a_complaint_is_about_what_the_caller_meant(
    client: Client, path: str, body: dict[str, Any], complaint: str
) -> None:
    response = await client.post(path, json=body)

    assert response.status_code in (400, 422)
    assert complaint in response.text
    assert "passage" not in response.text.replace("passages", "")


@pytest.mark.parametrize(
    "body",
    [{"query": QUERY}, {"query": QUERY, "passage": None}, {"query": QUERY, "normalize": True}, {"query": None}, {}],
    ids=str,
)
async def test_what_tells_nothing_is_the_documented_api_at_its_own_path(client: Client, body: dict[str, Any]) -> None:
    response = await client.post("/rerank", json=body)

    assert response.status_code == 422
    assert ["body", "passage"] in [error["loc"] for error in response.json()["detail"]]


@pytest.mark.parametrize("base", ["", "/vllm"])
@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("nulls", [{}, {"query": None, "passage": None, "texts": None}], ids=["alone", "beside nulls"])
async def test_invocations_answers_two_sides_as_score_does(
    client: Client, base: str, sides: tuple[str, str], nulls: dict[str, None]
) -> None:
    body = {sides[0]: QUERY, sides[1]: TEXTS}

    score = (await client.post(f"{base}/score", json=body)).json()
    invoked = await client.post(f"{base}/invocations", json=body | nulls)

    assert invoked.status_code == 200
    assert invoked.json()["data"] == score["data"]
    assert invoked.json().keys() == score.keys()


@pytest.mark.parametrize("base", ["", "/vllm"])
async def test_invocations_answers_documents_as_rerank_does(client: Client, base: str) -> None:
    body = {"query": QUERY, "documents": TEXTS, "queries": None, "items": None, "top_n": 1}

    reranked = (await client.post(f"{base}/rerank", json=body)).json()
    invoked = (await client.post(f"{base}/invocations", json=body)).json()

    assert invoked["results"] == reranked["results"]
    assert invoked.keys() == reranked.keys()


@pytest.mark.parametrize("base", ["", "/vllm"])
@pytest.mark.parametrize(
    "body",
    [
        {"query": QUERY, "documents": TEXTS, "queries": [QUERY]},
        {"query": QUERY, "text_1": QUERY, "text_2": TEXTS},
        {"documents": TEXTS, "texts": TEXTS},
        {"text_1": QUERY, "text_2": TEXTS, "passage": "a"},
    ],
    ids=lambda body: " ".join(body),
)
async def test_invocations_refuses_a_body_in_two_languages(client: Client, base: str, body: dict[str, Any]) -> None:
    response = await client.post(f"{base}/invocations", json=body)

    assert response.status_code == 400
    assert "send only one of them" in response.text


@pytest.mark.parametrize("base", ["", "/vllm"])
@pytest.mark.parametrize("body", [{"queries": TEXTS}, {"text_2": TEXTS}, {"items": [], "queries": None}], ids=str)
async def test_invocations_names_the_sides_where_one_is_missing(
    client: Client, base: str, body: dict[str, Any]
) -> None:
    response = await client.post(f"{base}/invocations", json=body)

    assert response.status_code == 400
    assert "the body needs two sides of the pairs" in response.json()["error"]["message"]


async def test_a_field_of_scores_is_unknown_where_none_are_spoken(client: Client) -> None:
    body = {"query": QUERY, "documents": TEXTS, "items": [1], "queries": "x", "text_1": 7}

    assert (await client.post("/v1/rerank", json=body)).status_code == 200


KEYS = st.sampled_from(
    ["query", "passage", "documents", "texts", "passages", "pairs", "queries", "items", "text_1", "top_n", "model", "x"]
)


@given(
    path=st.sampled_from(sorted(ROUTES_BY_PATH)), body=st.dictionaries(KEYS, st.sampled_from([None, "a", ["a"], {}, 7]))
)
def test_the_language_of_a_body_has_all_the_keys_that_tell_one_or_the_body_is_refused(
    path: str, body: dict[str, Any]
) -> None:
    route = ROUTES_BY_PATH[path]
    found = {key for key in route.dialect_keys if body.get(key) is not None}
    speaking = [dialect for dialect in route.dialects if found <= set(dialect.request.__struct_fields__)]

    if speaking:
        assert route.dialect(body) in speaking
    elif len(found - {"query"}) > 1 or "pairs" in found:
        with pytest.raises(InvalidRequest, match="the body has "):
            route.dialect(body)
    else:
        assert route.dialect(body) is route.dialects[0]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
@pytest.mark.parametrize("body", [[], 7, None, "text", True], ids=str)
def test_a_body_that_is_no_object_is_in_the_first_language(route: Any, body: object) -> None:
    assert route.dialect(body) is route.dialects[0]
