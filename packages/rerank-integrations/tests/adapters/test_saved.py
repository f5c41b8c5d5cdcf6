"""Adapters are saved and loaded again: what was configured comes back, and the key is in no dump."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.load import dumpd, dumps, load
from llama_index.core.schema import MetadataMode
from pydantic import ValidationError
from rerank_core.errors import InvalidRequest
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import ScoreOptions
from rerank_integrations.client import HTTPScorer
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor
from rerank_integrations.local import ModelScorer

URL, KEY = "http://localhost:8000", "key-of-a-user"
OPTIONS = ScoreOptions(raw=True, max_length=64)

pytestmark = pytest.mark.filterwarnings("ignore:The function `load` is in beta")

Adapter = type[RerankCompressor] | type[RerankPostprocessor]
Again = Callable[[Any], Any]


def by_langchain(adapter: RerankCompressor, **options: Any) -> RerankCompressor:
    dump = json.loads(dumps(adapter))
    assert dump == dumpd(adapter)
    found = load(dump, allowed_objects=[RerankCompressor], valid_namespaces=["rerank_integrations"], **options)
    assert dumpd(found) == dump
    return found


def by_llama_index(adapter: RerankPostprocessor) -> RerankPostprocessor:
    found = RerankPostprocessor.from_dict(adapter.to_dict())
    assert found.to_dict() == adapter.to_dict()
    assert json.loads(RerankPostprocessor.from_json(adapter.to_json()).to_json()) == json.loads(adapter.to_json())
    return found


def by_pydantic(adapter: Any) -> Any:
    dump = adapter.model_dump()
    dump.pop("class_name", None)
    found = type(adapter).model_validate(dump)
    assert found.model_dump() == adapter.model_dump()
    return found


ROADS: list[Any] = [
    pytest.param(RerankCompressor, by_langchain, id="LangChain's load"),
    pytest.param(RerankCompressor, by_pydantic, id="LangChain, pydantic"),
    pytest.param(RerankPostprocessor, by_llama_index, id="LlamaIndex's from_dict"),
    pytest.param(RerankPostprocessor, by_pydantic, id="LlamaIndex, pydantic"),
]


@pytest.mark.parametrize(("adapter", "again"), ROADS)
def test_an_adapter_of_servers_comes_back_with_all_that_was_configured(adapter: Adapter, again: Again) -> None:
    configured = {"top_n": 3, "threshold": 0.5, "options": OPTIONS, "instruction": "find", "on_error": "passthrough"}
    if adapter is RerankPostprocessor:
        configured |= {"metadata_mode": MetadataMode.LLM, "keep_retrieval_score": True, "model_name": "mine"}
    urls = [URL, "http://other:8000"]

    found = again(adapter.from_url(urls, timeout=2.5, max_retries=1, hedge_after=0.3, **configured))

    assert {name: getattr(found, name) for name in configured} == configured
    assert found.scorer.base_urls == tuple(urls)
    assert found.scorer.configuration() == {"url": urls, "timeout": 2.5, "max_retries": 1, "hedge_after": 0.3}


@pytest.mark.parametrize(("adapter", "again"), ROADS)
def test_a_model_comes_back_with_its_options_and_its_scores(adapter: Any, again: Again, checkpoint: Path) -> None:
    original = adapter.from_model(str(checkpoint), max_length=32, calibration=(2.0, 0.5), device="cpu")

    found = again(original)

    assert found.scorer.info == original.scorer.info
    assert found.scorer.score("panda", ["a panda"]) == original.scorer.score("panda", ["a panda"])


@pytest.mark.parametrize("adapter", [RerankCompressor, RerankPostprocessor])
def test_settings_that_are_text_are_read_as_what_they_say(adapter: Any, checkpoint: Path) -> None:
    """As those of a YAML file may be, or of a template. The text "false" is true in Python."""
    options = {"trust_remote_code": "false", "max_length": "64", "max_characters": "900"}

    found = adapter(scorer={"model": str(checkpoint), **options}).scorer.configuration()

    assert found["max_length"] == 64
    assert found["max_characters"] == 900
    assert found.get("trust_remote_code", False) is False


@pytest.mark.parametrize(("adapter", "again"), ROADS)
@pytest.mark.parametrize("kind", ["client", "model that loads later"])
def test_a_scorer_that_was_passed_comes_back_too(adapter: Any, again: Again, kind: str, checkpoint: Path) -> None:
    scorer = HTTPScorer(URL, timeout=7) if kind == "client" else ModelScorer(str(checkpoint), max_length=32)

    found = again(adapter(scorer=scorer))

    assert found.scorer.configuration() == scorer.configuration()


def test_the_options_of_a_model_that_loads_later_can_be_json(tmp_path: Path) -> None:
    options = ModelScorer("a model", calibration=tmp_path / "calibration.json", threads=1).configuration()

    assert json.loads(json.dumps(options)) == options


@pytest.mark.parametrize("key", [KEY, lambda: KEY, None], ids=["text", "callable", "environment"])
@pytest.mark.parametrize("adapter", [RerankCompressor, RerankPostprocessor])
def test_a_key_is_in_nothing_that_is_shown_or_saved(key: Any, adapter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANK_API_KEY", KEY)

    for url in (URL, f"http://user:{KEY}@localhost:8000"):
        made = adapter.from_url(url, api_key=key)
        dumped = [repr(made.model_dump()), made.model_dump_json(), dumps(made), json.dumps(adapter.model_json_schema())]
        assert KEY not in " ".join([repr(made), str(made), *dumped])


def test_the_key_of_a_dump_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANK_API_KEY", KEY)
    saved = [RerankCompressor.from_url(URL, api_key="secret"), RerankPostprocessor.from_url(URL, api_key="secret")]

    for found in (by_langchain(saved[0]), by_llama_index(saved[1])):
        assert found.scorer._api_key.now() == KEY


def test_langchain_gives_the_key_that_its_caller_has_for_the_name_in_the_dump() -> None:
    found = by_langchain(RerankCompressor.from_url(URL, api_key="secret"), secrets_map={"RERANK_API_KEY": "another"})

    assert found.scorer._api_key.now() == "another"


def test_a_dump_without_a_key_names_none() -> None:
    assert "api_key" not in dumps(RerankCompressor.from_url(URL))


@pytest.mark.parametrize("adapter", [RerankCompressor, RerankPostprocessor])
def test_an_error_of_a_field_shows_no_key(adapter: Adapter) -> None:
    with pytest.raises(ValidationError) as caught:
        adapter(scorer={"url": URL, "timeout": KEY}, api_key=KEY, top_n=0)

    assert KEY not in str(caught.value)


def test_a_scorer_of_ones_own_is_given_again_where_a_dump_is_loaded(overlap: OverlapModel) -> None:
    saved = RerankPostprocessor(scorer=overlap, top_n=3).to_dict()

    assert RerankPostprocessor.from_dict(saved, scorer=overlap).top_n == 3
    with pytest.raises(ValidationError, match="pass scorer="):
        RerankPostprocessor.from_dict(saved)
    with pytest.raises(NotImplementedError, match="OverlapModel"):
        by_langchain(RerankCompressor(scorer=overlap))


@pytest.mark.parametrize("adapter", [RerankCompressor, RerankPostprocessor])
def test_the_schema_has_the_settings_of_servers_and_models(adapter: Adapter) -> None:
    schema = adapter.model_json_schema()

    server, model = schema["properties"]["scorer"]["anyOf"]
    assert set(server["properties"]) == {"url", "timeout", "max_retries", "hedge_after"}
    assert {"model", "device", "dtype", "max_length"} <= set(model["properties"])
    assert {"top_n", "threshold", "options", "on_error"} <= set(schema["properties"])


@pytest.mark.parametrize("adapter", [RerankCompressor, RerankPostprocessor])
@pytest.mark.parametrize(
    ("fields", "way_out"),
    [
        ({"url": URL}, r"from_url\(URL\)"),
        ({"model": "lite"}, r"from_model\(NAME\)"),
        ({"scorer": URL}, r"from_url\(URL\)"),
        ({"top_n": 3}, r"from_url\(URL\)"),
        ({"scorer": {"url": URL, "timout": 3}}, "timout"),
        ({"scorer": {"device": "cpu"}}, "url"),
        ({"scorer": {"model": "lite", "devise": "cpu"}}, "devise"),
        ({"scorer": OverlapModel(), "api_key": "key"}, r"from_url\(URL, api_key="),
        ({"scorer": {"model": "lite"}, "api_key": "key"}, "leave one of the two out"),
    ],
    ids=[
        "url",
        "model",
        "no scorer",
        "text",
        "misspelt setting",
        "no address",
        "misspelt option",
        "two keys",
        "no key",
    ],
)
def test_fields_that_make_no_scorer_are_named_with_the_way_out(adapter: Any, fields: Any, way_out: str) -> None:
    with pytest.raises(ValidationError, match=way_out):
        adapter(**fields)


@pytest.mark.parametrize("adapter", [RerankCompressor, RerankPostprocessor])
def test_a_search_that_may_go_on_without_scores_waits_a_few_seconds_and_no_more(adapter: Any) -> None:
    def seconds(**arguments: Any) -> Any:
        return adapter.from_url(URL, **arguments).scorer.configuration()["timeout"]

    assert seconds() == 300.0
    assert seconds(on_error="passthrough") == 5.0
    assert seconds(on_error="passthrough", timeout=60.0) == 60.0
    assert seconds(on_error="passthrough", timeout=None) is None
    assert adapter(scorer={"url": URL}, on_error="passthrough").scorer.configuration()["timeout"] == 5.0


@pytest.mark.parametrize("adapter", [RerankCompressor, RerankPostprocessor])
def test_a_word_that_is_none_for_errors_is_refused(adapter: Any) -> None:
    with pytest.raises((ValidationError, InvalidRequest)):
        adapter.from_url(URL, on_error="ignore")
