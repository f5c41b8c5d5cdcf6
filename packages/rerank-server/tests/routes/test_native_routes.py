"""``/rerank`` and ``/rerank/batch``: fields, rules and statuses."""

import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx import AsyncClient as Client
from rerank_core.errors import EngineError
from rerank_core.models.scoring import sigmoid
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import ModelInfo, ScoreOptions

QUERY = "where do pandas live"
PAIR = {"query": QUERY, "passage": "pandas live in China"}


def expected(model: OverlapModel, *, raw: bool = True) -> float:
    return model.score(QUERY, [PAIR["passage"]], ScoreOptions(raw=raw)).values[0]


async def test_one_pair_is_scored_with_its_logit(client: Client, model: OverlapModel) -> None:
    response = await client.post("/rerank", json=PAIR)

    assert response.status_code == 200
    assert response.json() == {
        "score": expected(model),
        "normalized": False,
        "query_length": len(QUERY),
        "passage_length": len(PAIR["passage"]),
    }


async def test_a_normalised_score_is_the_sigmoid(client: Client, model: OverlapModel) -> None:
    response = await client.post("/rerank", json=PAIR | {"normalize": True})

    assert response.json()["score"] == sigmoid(expected(model))
    assert response.json()["normalized"] is True


async def test_a_batch_is_scored_in_the_order_of_its_pairs(client: Client, model: OverlapModel) -> None:
    other = {"query": "what is Paris", "passage": "Paris is a city"}

    response = await client.post("/rerank/batch", json={"pairs": [other, PAIR, other], "normalize": True})

    other_score = model.score(other["query"], [other["passage"]]).values[0]
    assert response.status_code == 200
    assert response.json() == {
        "scores": [other_score, expected(model, raw=False), other_score],
        "normalized": True,
        "pairs_count": 3,
    }


async def test_lengths_are_in_characters(client: Client) -> None:
    response = await client.post("/rerank", json={"query": "大熊猫", "passage": "😀"})

    assert (response.json()["query_length"], response.json()["passage_length"]) == (3, 1)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, {"query": "missing", "passage": "missing"}),
        ({"query": 1, "passage": "x"}, {"query": "string_type"}),
        ({"query": None, "passage": "x"}, {"query": "string_type"}),
        ({"query": "", "passage": "x"}, {"query": "string_too_short"}),
        ({"query": "x" * 10_001, "passage": "x"}, {"query": "string_too_long"}),
        ({"query": "x", "passage": " \n\t\u3000"}, {"passage": "value_error"}),
        (PAIR | {"normalize": "maybe"}, {"normalize": "bool_parsing"}),
        (PAIR | {"normalize": None}, {"normalize": "bool_parsing"}),
        (PAIR | {"normalize": 2}, {"normalize": "bool_parsing"}),
    ],
)
async def test_every_wrong_field_is_named(client: Client, body: Any, wrong: dict[str, str]) -> None:
    response = await client.post("/rerank", json=body)

    assert response.status_code == 422
    assert {detail["loc"][-1]: detail["type"] for detail in response.json()["detail"]} == wrong
    assert all(detail["loc"][0] == "body" and detail["msg"] for detail in response.json()["detail"])


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, [(["body", "pairs"], "missing")]),
        ({"pairs": "x"}, [(["body", "pairs"], "list_type")]),
        ({"pairs": []}, [(["body", "pairs"], "too_short")]),
        ({"pairs": [PAIR] * 101}, [(["body", "pairs"], "too_long")]),
        (
            {"pairs": [PAIR, 3, {"query": "x"}]},
            [(["body", "pairs", 1], "model_attributes_type"), (["body", "pairs", 2, "passage"], "missing")],
        ),
    ],
)
async def test_every_wrong_pair_is_named(client: Client, body: Any, wrong: list[tuple[list[object], str]]) -> None:
    response = await client.post("/rerank/batch", json=body)

    assert response.status_code == 422
    assert [(detail["loc"], detail["type"]) for detail in response.json()["detail"]] == wrong


async def test_a_hundred_pairs_and_ten_thousand_characters_are_fine(client: Client) -> None:
    pair = {"query": "x" * 10_000, "passage": "y" * 10_000}

    response = await client.post("/rerank/batch", json={"pairs": [PAIR] * 99 + [pair]})

    assert response.json()["pairs_count"] == 100


POISON = {
    "not JSON": b"{",
    "no body": b"",
    "an array": b"[]",
    "a string": b'"x"',
    "invalid UTF-8": b'{"query": "\xff", "passage": "x"}',
    "nesting without end": b"[" * 100_000,
    "nesting in an unknown field": b'{"query": "a", "passage": "b", "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a lone surrogate": rb'{"query": "\ud800", "passage": "x"}',
    "a NaN": b'{"query": "a", "passage": "b", "x": NaN}',
    "a number of 5,000 digits": b'{"query": "a", "passage": "b", "x": ' + b"9" * 5000 + b"}",
    "an infinite number": b'{"query": "a", "passage": "b", "x": 1e999}',
    "two values": b"{}{}",
}


@pytest.mark.parametrize("path", ["/rerank", "/rerank/batch"])
@pytest.mark.parametrize("body", POISON.values(), ids=POISON)
async def test_a_body_that_is_no_json_object_is_422_and_the_next_request_is_fine(
    client: Client, path: str, body: bytes
) -> None:
    response = await client.post(path, content=body, headers={"Content-Type": "application/json"})

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body"]
    assert (await client.post("/rerank", json=PAIR)).status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
async def test_another_content_type_than_json_is_422(client: Client, content_type: str) -> None:
    response = await client.post("/rerank", content=json.dumps(PAIR), headers={"Content-Type": content_type})

    assert response.status_code == 422
    assert content_type in response.json()["detail"][0]["msg"]


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8", "application/vnd.api+json"])
async def test_a_missing_content_type_is_read_as_json(client: Client, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}

    response = await client.post("/rerank", content=json.dumps(PAIR).encode(), headers=headers)

    assert response.status_code == 200


async def test_nul_is_text_and_of_duplicate_keys_the_last_wins(client: Client) -> None:
    body = rb'{"query": "a\u0000b", "passage": "first", "passage": "second one"}'

    response = await client.post("/rerank", content=body)

    assert response.json()["query_length"] == 3
    assert response.json()["passage_length"] == len("second one")


async def test_two_languages_in_one_body_are_400(client: Client) -> None:
    response = await client.post("/rerank", json=PAIR | {"documents": ["x"]})

    assert response.status_code == 400
    assert response.json() == {"detail": "the body has passage and documents: send only one of them"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rerank/batch", PAIR | {"pairs": [PAIR]}),
        ("/v1/rerank", {"query": "x", "documents": ["y"], "passage": "z"}),
        ("/v1/rerank", {"query": "x", "documents": ["y"], "texts": ["z"]}),
    ],
)
async def test_two_languages_are_400_on_every_route(client: Client, path: str, body: Any) -> None:
    assert (await client.post(path, json=body)).status_code == 400


async def test_a_null_is_as_good_as_no_content(client: Client) -> None:
    assert (await client.post("/rerank", json=PAIR | {"documents": None})).status_code == 200


async def test_a_limit_of_the_operator_is_an_error_in_the_same_shape(
    serve: Callable[..., AbstractAsyncContextManager[Client]], until_ready: Callable[[Client], Awaitable[None]]
) -> None:
    async with serve(lambda _: OverlapModel(), max_text_chars=5, max_documents=1) as client:
        await until_ready(client)
        long = await client.post("/v1/rerank", json={"query": "q", "documents": ["a b c d"], "truncate": False})
        cut = await client.post("/rerank", json=PAIR)
        many = await client.post("/rerank/batch", json={"pairs": [PAIR, PAIR]})

    assert (long.status_code, cut.status_code, many.status_code) == (400, 200, 413)
    assert "7 characters, a text that may not be cut may have 5" in long.json()["message"]
    assert "2 documents, a request may have 1" in many.json()["detail"]


async def test_pairs_are_sent_to_the_batch_route(client: Client) -> None:
    response = await client.post("/rerank", json={"pairs": [PAIR]})

    assert response.status_code == 400
    assert "/rerank/batch" in response.json()["detail"]


async def test_too_large_a_body_is_413_with_the_limit(client: Client) -> None:
    response = await client.post("/rerank", json=PAIR | {"padding": "x" * 10_000_000})

    assert response.status_code == 413
    assert "10000000 bytes" in response.json()["detail"]


async def test_a_model_that_fails_is_500_and_the_next_request_is_fine(client: Client, model: OverlapModel) -> None:
    model.fail_next = EngineError("the overlap engine failed")
    failed = await client.post("/rerank", json=PAIR)

    assert failed.status_code == 500
    assert failed.json() == {"detail": "the overlap engine failed"}
    assert (await client.post("/rerank", json=PAIR)).status_code == 200


async def test_a_bug_is_500_without_its_text(client: Client, model: OverlapModel) -> None:
    model.fail_next = ZeroDivisionError("a secret")
    failed = await client.post("/rerank", json=PAIR)

    assert failed.status_code == 500
    assert "a secret" not in failed.text


class Broken(OverlapModel):
    """A model with a bug where the route asks for its limits."""

    broken = False

    @property
    def info(self) -> ModelInfo:
        if self.broken:
            raise ZeroDivisionError("a secret")
        return super().info


async def test_a_bug_outside_the_network_is_500_in_the_dialect_and_the_log_has_it(
    serve: Callable[..., AbstractAsyncContextManager[Client]],
    until_ready: Callable[..., Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = Broken()
    async with serve(lambda _: model) as client:
        await until_ready(client)
        model.broken = True
        native = await client.post("/rerank", json=PAIR)
        tei = await client.post("/tei/rerank", json={"query": QUERY, "texts": ["a"]})

    assert (native.status_code, native.json().keys()) == (500, {"detail"})
    assert (tei.status_code, tei.json().keys()) == (424, {"error", "error_type"})
    assert "secret" not in native.text + tei.text
    assert "/tei/rerank failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_no_depth_of_nesting_is_a_failure_of_the_server(client: Client) -> None:
    """Near the limit a body can be decoded, and what is made of it is too deep."""
    for depth in range(800, 1100, 10):
        nested = '{"a":' * depth + "1" + "}" * depth
        body = f'{{"query": "q", "documents": [{nested}], "rank_fields": ["a"]}}'
        answer = await client.post("/v1/rerank", content=body, headers={"Content-Type": "application/json"})

        assert answer.status_code in (200, 400), depth


async def test_texts_are_in_no_error(client: Client) -> None:
    secret = "do not repeat this"

    for body in ({"query": secret, "passage": [secret]}, {"query": secret, "passage": "x", "normalize": secret}):
        response = await client.post("/rerank", json=body)
        assert response.status_code == 422
        assert secret not in response.text
