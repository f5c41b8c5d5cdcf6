"""An instruction, by every path that has one."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx import AsyncClient as Client
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import ScoreOptions

Serve = Callable[..., AbstractAsyncContextManager[Client]]

QUERY = "where do pandas live"
DOCUMENTS = ["Paris is a city", "pandas live in China", "pandas eat"]
INSTRUCTION = "prefer what is known of Paris"

COMMON: dict[str, Any] = {"query": QUERY, "documents": DOCUMENTS}
PAIRS: dict[str, Any] = {"pairs": [{"query": QUERY, "passage": document} for document in DOCUMENTS]}
FORMS: list[dict[str, Any]] = [
    {"instruction": INSTRUCTION},
    {"instruct": INSTRUCTION},
    {"chat_template_kwargs": {"instruction": INSTRUCTION, "enable_thinking": False}},
    {"chat_template_kwargs": {"instruct": INSTRUCTION}},
    {"instruction": INSTRUCTION, "instruct": INSTRUCTION},
]
ROADS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/rerank", COMMON),
    ("/rerank", COMMON),
    ("/invocations", COMMON),
    ("/cohere/v2/rerank", COMMON),
    ("/jina/v1/rerank", COMMON),
    ("/siliconflow/v1/rerank", COMMON),
    ("/voyage/v1/rerank", COMMON),
    ("/infinity/rerank", COMMON),
    ("/llamacpp/v1/rerank", COMMON),
    ("/vllm/rerank", COMMON),
    ("/xinference/v1/rerank", COMMON),
    ("/v1/score", {"queries": QUERY, "documents": DOCUMENTS}),
    ("/rerank/batch", PAIRS),
]


@pytest.fixture(scope="module")
async def takes() -> OverlapModel:
    return OverlapModel(takes_instruction=True, instruction="of China")


@pytest.fixture(scope="module")
async def taking(serve: Serve, until_ready: Callable[..., Any], takes: OverlapModel) -> AsyncIterator[Client]:
    """A server whose model takes an instruction, for all tests that only ask."""
    async with serve(lambda _: takes, cache_mb=1) as client:
        await until_ready(client)
        yield client


def scores(answer: Any) -> list[float]:
    """The scores of an answer in any dialect, in the order of the documents."""
    body = answer.json()
    assert answer.status_code == 200, body
    if "scores" in body:
        return list(body["scores"])
    rows = body["results"] if "results" in body else body["data"]
    found = {row["index"]: row.get("relevance_score", row.get("score")) for row in rows}
    return [found[index] for index in range(len(found))]


def expected(model: OverlapModel, path: str, instruction: str | None) -> list[float]:
    raw = path.startswith("/llamacpp") or path == "/rerank/batch"
    return list(model.score(QUERY, DOCUMENTS, ScoreOptions(raw=raw, instruction=instruction)).values)


@pytest.mark.parametrize(("path", "body"), ROADS, ids=[path for path, _ in ROADS])
async def test_an_instruction_reaches_the_model_by_every_path_that_has_one(
    taking: Client, takes: OverlapModel, path: str, body: dict[str, Any]
) -> None:
    instructed = scores(await taking.post(path, json=body | {"instruction": INSTRUCTION}))

    assert instructed == expected(takes, path, INSTRUCTION) != expected(takes, path, None)
    assert scores(await taking.post(path, json=body)) == expected(takes, path, None)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(("path", "body"), [("/v1/rerank", COMMON), ("/rerank/batch", PAIRS)])
async def test_an_instruction_has_the_names_that_clients_send(
    taking: Client, takes: OverlapModel, form: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    assert scores(await taking.post(path, json=body | form)) == expected(takes, path, INSTRUCTION)


async def test_an_instruction_of_no_words_takes_the_place_of_the_models_own(
    taking: Client, takes: OverlapModel
) -> None:
    without = scores(await taking.post("/v1/rerank", json=COMMON | {"instruction": ""}))
    null = scores(await taking.post("/v1/rerank", json=COMMON | {"instruction": None}))

    assert without == expected(takes, "/v1/rerank", "")
    assert null == expected(takes, "/v1/rerank", None) != without


@pytest.mark.parametrize("form", FORMS, ids=str)
async def test_one_pair_has_an_instruction_too(taking: Client, form: dict[str, Any]) -> None:
    pair = {"query": QUERY, "passage": DOCUMENTS[0]}
    plain, null, instructed = [
        (await taking.post("/rerank", json=pair | more)).json()["score"] for more in ({}, dict.fromkeys(form), form)
    ]

    assert plain == null < instructed


@pytest.mark.parametrize(
    ("path", "body"),
    [("/tei/rerank", {"query": QUERY, "texts": DOCUMENTS}), ("/nim/v1/ranking", {"query": {"text": QUERY}})],
    ids=["tei", "nim"],
)
async def test_a_dialect_without_the_field_passes_it_over_as_every_unknown_one(
    taking: Client, path: str, body: dict[str, Any]
) -> None:
    if path.startswith("/nim"):
        body = body | {"passages": [{"text": document} for document in DOCUMENTS]}

    plain, instructed = await taking.post(path, json=body), await taking.post(path, json=body | FORMS[0])

    assert plain.status_code == 200
    assert instructed.json() == plain.json()


@pytest.mark.parametrize(("path", "body"), ROADS, ids=[path for path, _ in ROADS])
async def test_a_model_that_takes_none_refuses_it_by_its_name_before_anything_is_computed(
    client: Client, model: OverlapModel, path: str, body: dict[str, Any]
) -> None:
    answer = await client.post(path, json=body | {"instruction": "the secret wish"})

    assert answer.status_code == (422 if path in {"/infinity/rerank", "/rerank/batch"} else 400)
    assert "overlap takes no instruction: leave it out" in answer.text
    assert "secret" not in answer.text
    assert model.forwards == []


async def test_an_empty_instruction_asks_nothing_of_a_model_that_takes_none(client: Client) -> None:
    empty = scores(await client.post("/v1/rerank", json=COMMON | {"instruction": ""}))

    assert empty == scores(await client.post("/v1/rerank", json=COMMON))


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"instruction": 7}, "instruction", "instruction: expected str"),
        ({"instruct": ["x"]}, "instruct", "instruct: expected str"),
        ({"instruct": "x", "instruction": "y"}, "instruction", "instruction and instruct differ"),
        ({"chat_template_kwargs": "x"}, "chat_template_kwargs", "chat_template_kwargs: expected object"),
        (
            {"chat_template_kwargs": {"instruction": 7}},
            "chat_template_kwargs.instruction",
            "chat_template_kwargs.instruction: expected str",
        ),
        ({"instruction": "y" * 100_001}, "instruction", "the instruction has 100001 characters, it may have 100000"),
    ],
    ids=["number", "list", "two", "no object", "number inside", "long"],
)
async def test_a_wrong_instruction_is_named_with_the_way_out(
    taking: Client, fields: dict[str, Any], param: str, message: str
) -> None:
    answer = await taking.post("/v1/rerank", json=COMMON | fields)

    error = answer.json()
    assert answer.status_code == 400
    assert message in error["message"]
    assert error["error"]["param"] == param


TOO_LONG = "String should have at most 10000 characters, not 10001"
KWARGS = "chat_template_kwargs"


@pytest.mark.parametrize(
    ("fields", "place", "message", "kind"),
    [
        ({"instruction": "y" * 10_001}, ["instruction"], TOO_LONG, "string_too_long"),
        ({"instruct": "y" * 10_001}, ["instruct"], TOO_LONG, "string_too_long"),
        ({KWARGS: {"instruct": "y" * 10_001}}, [KWARGS, "instruct"], TOO_LONG, "string_too_long"),
        ({KWARGS: {"instruction": 7}}, [KWARGS, "instruction"], "Input should be a string", "string_type"),
        ({KWARGS: "x"}, [KWARGS], "Input should be an object", "dict_type"),
        (
            {"instruct": "x", KWARGS: {"instruction": "y"}},
            ["instruct"],
            "instruct and chat_template_kwargs.instruction differ: send only one of them",
            "value_error",
        ),
    ],
    ids=["long", "long by another name", "long inside", "number inside", "no object", "two"],
)
@pytest.mark.parametrize(("path", "body"), [("/rerank/batch", PAIRS), ("/rerank", PAIRS["pairs"][0])])
async def test_a_wrong_instruction_of_pairs_is_named_by_its_place(
    taking: Client,
    path: str,
    body: dict[str, Any],
    fields: dict[str, Any],
    place: list[str],
    message: str,
    kind: str,
) -> None:
    answer = await taking.post(path, json=body | fields)

    assert answer.status_code == 422
    assert answer.json()["detail"] == [{"loc": ["body", *place], "msg": message, "type": kind}]


@pytest.mark.parametrize("form", FORMS[:4], ids=str)
async def test_an_instruction_inside_a_pair_of_several_is_refused_by_its_place(
    taking: Client, form: dict[str, Any]
) -> None:
    first, second, *_ = PAIRS["pairs"]
    nulls: dict[str, Any] = {"instruction": None, "instruct": None, KWARGS: {"enable_thinking": False}}

    answer = await taking.post("/rerank/batch", json={"pairs": [first | nulls, second | form]})

    (error,) = answer.json()["detail"]
    assert answer.status_code == 422
    assert error["loc"][:3] == ["body", "pairs", 1]
    assert error["loc"][-1] in {"instruction", "instruct"}
    assert error["msg"] == "A pair has no instruction of its own: send one beside pairs, for all of them"


async def test_the_text_of_an_instruction_is_in_no_line_of_the_log(
    taking: Client, takes: OverlapModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = {"query": QUERY, "documents": ["never scored before"], "instruction": "the secret wish"}
    takes.fail_next = ValueError("of any kind")
    failed = await taking.post("/v1/rerank", json=body)
    await taking.post("/v1/rerank", json=body)
    await taking.post("/v1/rerank", json=body | {"instruct": "other"})

    assert failed.status_code == 500
    assert caplog.text
    assert "secret" not in caplog.text + failed.text


async def test_the_pages_on_the_model_show_its_instruction(taking: Client, client: Client) -> None:
    for path in ("/info", "/v1/models/overlap", "/"):
        takes, none = (await taking.get(path)).json(), (await client.get(path)).json()
        takes, none = takes.get("model", takes), none.get("model", none)

        assert (takes["takes_instruction"], takes["instruction"]) == (True, "of China")
        assert (none["takes_instruction"], none["instruction"]) == (False, None)
